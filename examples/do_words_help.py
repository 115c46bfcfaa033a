"""Do words help? HiVA on SynthFACS against controls that read something else, three seeds, paired intervals.

accelerate launch examples/do_words_help.py                  # 18 runs; reuses those of examples/reproduce.py
accelerate launch examples/do_words_help.py --report_only    # the tables of finished runs
accelerate launch examples/do_words_help.py --seeds 42 43 44 45 46

The controls: shuffled descriptions, random vectors, AU names only, no text at all, and one vector for each sentence
instead of one for each word. words.md and words.json in the report folder contain the scores, the differences with
intervals over subjects and seeds, the difference of each seed, and a conclusion. Runs, folder and options are those of
examples/reproduce.py.
"""

import sys

# Imported first, since it sets how torch's threads wait.
from reproduce import parse_options, run_and_report

from hiva_hf.experiments.words import WORD_VARIANTS, check_seeds, make_word_report


SEEDS = (42, 43, 44)


def main():
    options, reproduction = parse_options(
        description=__doc__, seeds=SEEDS, variants=WORD_VARIANTS, shows_published=False
    )
    try:
        check_seeds(reproduction)
    except ValueError as error:
        sys.exit(str(error))

    def report(command: str) -> str:
        written = make_word_report(reproduction, command)
        return f"{written.to_markdown()}\n\nTables (Markdown, JSON): {written.folder}"

    run_and_report(options, reproduction, report)


if __name__ == "__main__":
    main()
