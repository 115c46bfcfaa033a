"""A new Action Unit from a sentence: leave each out of training, score it from its description alone, against chance.

python examples/new_au.py                        # SynthFACS, 20 Action Units x 3 seeds, minutes on two cores
python examples/new_au.py --seeds 42 43 44 45 46 --output_dir hiva-new-au
python examples/new_au.py --report_only

Frozen towers read faces and sentences once; only a small head is fitted, with weights that all Action Units share.
Stop it when you like: the same command goes on. `head` in the output folder is a head fitted to all Action Units, for
sentences of your own:

    from hiva_hf.open_vocabulary import OpenVocabularyDetector
    detector = OpenVocabularyDetector.from_pretrained("hiva-new-au/head")
    detector([face_crop], ["The nostrils are flared."])
"""

import argparse
import shlex
import sys

from hiva_hf.open_vocabulary.leave_one_out import LeaveOneOut, LeaveOneOutSettings


# What a shell expects of a process that Ctrl-C has ended.
STOPPED = 130


def parse_options(words: list[str] | None = None) -> argparse.Namespace:
    defaults = LeaveOneOutSettings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", default="hiva-new-au", help="Folder of features, scores and report.")
    parser.add_argument("--dataset", default=defaults.dataset)
    parser.add_argument("--data_dir", help="Folder of a prepared data set; synthfacs needs none.")
    parser.add_argument("--fold", type=int, default=defaults.fold)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(defaults.seeds), help="At least two.")
    parser.add_argument("--image_size", type=int, default=defaults.image_size, help="What the vision tower reads.")
    parser.add_argument("--vision_model_name_or_path", help="Default: the packaged DINOv2.")
    parser.add_argument("--text_model_name_or_path", help="Default: the packaged MiniLM.")
    parser.add_argument("--max_faces", type=int, help="For a quick look: the first faces of each split only.")
    parser.add_argument("--report_only", action="store_true", help="Fit nothing.")
    return parser.parse_args(words)


def main():
    options = vars(parse_options())
    output_dir, report_only = options.pop("output_dir"), options.pop("report_only")
    command = shlex.join(["python", *sys.argv])
    try:
        experiment = LeaveOneOut(output_dir, LeaveOneOutSettings(**options | {"seeds": tuple(options["seeds"])}))
        if not report_only:
            experiment.run()
        print(f"{experiment.report(command)}\n\nReport (Markdown, JSON) and head: {experiment.output_dir}")
    except (ValueError, OSError, ImportError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print(f"\nStopped; {output_dir} holds what is finished. The same command goes on:\n\n    {command}\n")
        sys.exit(STOPPED)


if __name__ == "__main__":
    main()
