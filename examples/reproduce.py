"""Run the paper's ablations and four controls on a data set, and print Tables I to VI with ours beside the published.

accelerate launch examples/reproduce.py --dataset synthfacs                       # the demonstration, fold 1
accelerate launch examples/reproduce.py --dataset bp4d --data_dir prepared/bp4d   # the paper's settings, three folds
accelerate launch examples/reproduce.py --dataset synthfacs --report_only         # tables and figures of finished runs

Every run has its own folder. You can stop at any time: the same command continues, and finished runs are not repeated.
All settings of examples/train.py (a YAML file, --preset, --stage1_epochs ...) can be passed, too, except for those of
a single run (--fold, --variant, ...) and --additional_data; they apply to every run.
"""

import os


# Waiting threads must not spin, which is costly on shared cores. It is read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse  # noqa: E402
import shlex  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Iterable, Sequence  # noqa: E402
from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402

from torch import distributed  # noqa: E402

from hiva_hf.data.folds import names_of_subjects  # noqa: E402
from hiva_hf.experiments.report import choose_published_tables, make_report  # noqa: E402
from hiva_hf.experiments.reproduction import VARIANTS, Reproduction, default_folds  # noqa: E402
from hiva_hf.reported_errors import REPORTED_ERRORS, message_of  # noqa: E402
from hiva_hf.training.distributed import ProcessCountError  # noqa: E402
from hiva_hf.training.hardware import use_cpu_cores  # noqa: E402
from hiva_hf.training.interruption import TrainingInterrupted  # noqa: E402
from hiva_hf.training.settings import parse_settings  # noqa: E402


# What a shell expects of a process that Ctrl-C has ended.
STOPPED = 130
# Settings of single runs, with what to use instead.
SETTINGS_OF_SINGLE_RUNS = {
    "fold": "use --folds",
    "variant": "use --variants",
    "text_level": "use --variants sentence_level",
    "overwrite_output_dir": "delete the folders of the runs that are to be repeated, or use another --output_dir",
    "photo": "no photo is read here",
}
PRINTED_SCORES = {"F1": "test_mean_f1", "ROC-AUC": "test_mean_roc_auc"}


def parse_options(
    words: list[str] | None = None,
    description: str | None = __doc__,
    seeds: Sequence[int] | None = None,
    variants: Sequence[str] = VARIANTS,
    shows_published: bool = True,
) -> tuple[argparse.Namespace, Reproduction]:
    """Parses the options of this command, or of one that makes the same runs.

    Args:
        words: Arguments of the command line.
        description: Description of the command.
        seeds: Default of `--seeds`; None uses the seed of the settings.
        variants: Default of `--variants`.
        shows_published: Whether its report has published tables.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--output_dir", help="Folder of all runs and the report; default: hiva-reproduction-DATASET.")
    parser.add_argument("--folds", type=int, nargs="+", help="Folds to test; default: 1 of synthfacs, else all.")
    of_seeds = "that of --seed" if seeds is None else " ".join(map(str, seeds))
    parser.add_argument("--seeds", type=int, nargs="+", default=seeds, help=f"For each fold; default: {of_seeds}.")
    of_variants = "all of them" if variants is VARIANTS else " ".join(variants)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=variants, help=f"Default: {of_variants}.")
    if shows_published:
        parser.add_argument(
            "--tables", nargs="+", help="Published tables, I to VI, to show; default: those of the data set."
        )
    parser.add_argument("--report_only", action="store_true", help="Train nothing.")
    parser.add_argument(
        "--separate_stage1", action="store_true", help="Train stage 1 for every variant, instead of once per fold."
    )
    options, settings = parser.parse_known_args(words)
    arguments, asked = parse_settings(settings)
    folder = options.output_dir or asked.get("output_dir") or f"hiva-reproduction-{arguments.dataset}"
    arguments = replace(arguments, output_dir=folder)
    try:
        check_asked_settings(asked, options.seeds)
        if shows_published:
            choose_published_tables(arguments.dataset, options.tables)
        reproduction = Reproduction(
            arguments,
            folds=options.folds or default_folds(arguments.dataset, arguments.data_dir),
            seeds=options.seeds or (arguments.seed,),
            variants=options.variants,
            share_stage1=not options.separate_stage1,
        )
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return options, reproduction


def check_asked_settings(asked: Iterable[str], seeds: Sequence[int] | None):
    """Checks that no settings of a single run were passed.

    Args:
        asked: Names of the settings that were passed.
        seeds: Seeds of all runs, if they don't depend on `seed`.

    Raises:
        ValueError: if there is one; the message says what to use instead.
    """
    instead = dict(SETTINGS_OF_SINGLE_RUNS)
    if seeds is not None:
        instead["seed"] = f"these runs have --seeds {' '.join(map(str, seeds))}"
    for name in asked:
        if name in instead:
            raise ValueError(f"`{name}` is for single runs: {instead[name]}.")


def print_once(text: str):
    """Prints in the main process only. Accelerate's state is not used, since the first run has to create it."""
    if is_main_process():
        print(text, flush=True)


def is_main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def run_all(reproduction: Reproduction):
    """Executes every run that is not finished."""
    num_jobs = len(reproduction.jobs)
    pending = reproduction.pending()
    print_once(f"{num_jobs - len(pending)} of {num_jobs} runs are finished.")
    tested = set()
    for number, job in enumerate(pending, start=num_jobs - len(pending) + 1):
        results = reproduction.run(job)
        scores = [
            f"mean {name} {100 * results[key]:.1f}" for name, key in PRINTED_SCORES.items() if results[key] is not None
        ]
        print_once(f"ours, run {number} of {num_jobs}, {job}: {', '.join(scores)}")
        if job.fold not in tested:
            tested.add(job.fold)
            print_once(f"Fold {job.fold} tests {names_of_subjects(results['test_subjects'])}.")


def run_and_report(options: argparse.Namespace, reproduction: Reproduction, report: Callable[[str], str]):
    """Executes the runs that are not finished, then prints a report on all of them.

    Args:
        options: From `parse_options`.
        reproduction: The runs.
        report: Takes the command line and returns the text to print.
    """
    command = shlex.join(["accelerate", "launch", *sys.argv])
    if not options.report_only:
        try:
            run_all(reproduction)
        except (TrainingInterrupted, KeyboardInterrupt) as interruption:
            print_once(
                f"\nStopped; {reproduction.output_dir} contains what is finished. The same command continues:\n"
            )
            print_once(f"    {command}\n")
            sys.exit(getattr(interruption, "exit_code", STOPPED))
        except (*REPORTED_ERRORS, ProcessCountError) as error:
            sys.exit(f"{Path(sys.argv[0]).name}: {message_of(error)}")
    if is_main_process():
        use_cpu_cores(reproduction.arguments.num_cpu_threads)
        try:
            print(f"\n{report(command)}")
        except REPORTED_ERRORS as error:
            sys.exit(f"There is no report: {message_of(error)}")
    if distributed.is_initialized():
        distributed.destroy_process_group()


def main():
    options, reproduction = parse_options()

    def report(command: str) -> str:
        written = make_report(reproduction, options.tables, command)
        return f"{written.to_markdown()}\n\nTables (Markdown, LaTeX, JSON) and figures: {written.folder}"

    run_and_report(options, reproduction, report)


if __name__ == "__main__":
    main()
