"""Detect a new Action Unit from a sentence: leave each out of training, and score it from its description alone.

python examples/new_au.py                        # SynthFACS, 20 Action Units x 3 seeds, minutes on two cores
python examples/new_au.py --seeds 42 43 44 45 46 --output_dir hiva-new-au
python examples/new_au.py --report_only

Frozen towers encode faces and sentences once; only a small head is fitted, with weights that all Action Units share.
You can stop it at any time: the same command continues. `head` in the output folder is a head fitted to all Action
Units, for your own sentences:

    from hiva_hf.open_vocabulary import OpenVocabularyDetector
    detector = OpenVocabularyDetector.from_pretrained("hiva-new-au/head")
    detector([face_crop], ["The nostrils are flared."])
"""

import argparse
import shlex
import sys

from hiva_hf.open_vocabulary.leave_one_out import LeaveOneOut, LeaveOneOutSettings
from hiva_hf.open_vocabulary.report import write_report


# What a shell expects of a process that Ctrl-C has ended.
STOPPED = 130


def parse_options(words: list[str] | None = None) -> argparse.Namespace:
    defaults = LeaveOneOutSettings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", default="hiva-new-au", help="Folder for features, scores and report.")
    parser.add_argument("--dataset", default=defaults.dataset)
    parser.add_argument("--data_dir", help="Folder of a prepared data set; synthfacs needs none.")
    parser.add_argument("--fold", type=int, default=defaults.fold)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(defaults.seeds), help="At least two.")
    parser.add_argument("--image_size", type=int, default=defaults.image_size, help="Input size of the vision tower.")
    parser.add_argument("--vision_model_name_or_path", help="Default: the packaged DINOv2.")
    parser.add_argument("--text_model_name_or_path", help="Default: the packaged MiniLM.")
    parser.add_argument("--max_faces", type=int, help="Use only the first faces of each split (a quick check).")
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
        print(f"{write_report(experiment, command)}\n\nReport (Markdown, JSON) and head: {experiment.output_dir}")
    except (ValueError, OSError, ImportError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print(f"\nStopped; {output_dir} contains what is finished. The same command continues:\n\n    {command}\n")
        sys.exit(STOPPED)


if __name__ == "__main__":
    main()
