"""Figures 4 to 7 of the paper from the runs of a reproduction, each with the numbers that it shows."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from datasets import Dataset
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..data import load_au_dataset
from ..data.views import evenly_spaced
from ..evaluation.metrics import DEFAULT_THRESHOLD, none_if_undefined
from ..evaluation.published import PublishedTable
from ..evaluation.result_tables import PERCENT, MethodResult, compare_methods
from ..viz.figures import (
    AttentionExample,
    GraphExample,
    draw_attention_examples,
    draw_description_similarities,
    draw_gains,
    draw_graph_examples,
)
from ..viz.similarity import off_diagonal
from .interpretation import (
    FaceReadings,
    choose_example_faces,
    graph_statistics,
    pictures_of,
    read_description_similarities,
    read_faces,
)
from .reproduction import BASELINE, FULL, NO_DIFFERENCE_LOSS, VARIANT_NAMES, Job, Reproduction


NUM_EXAMPLES = 3
MAPS_PER_EXAMPLE = 3
# Faces over which Figure 7's in-degrees and reciprocity are averaged.
NUM_GRAPH_FACES = 256
# Figure 5 shows at most this many points of training.
MAX_MOMENTS = 5


def spearman_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's rho over the entries that are defined in both; NaN if one of them is constant."""
    # `Series.corr` would need SciPy.
    return float(pd.DataFrame({"first": first, "second": second}).corr("spearman").loc["first", "second"])


def make_gain_figure(
    title: str, method: MethodResult, baseline: MethodResult, published: PublishedTable | None
) -> tuple[Figure, dict]:
    """Figure 4: the method's gain in F1 over the baseline against the positive rate of each AU.

    Args:
        title: Data set, folds and seeds.
        method: The full HiVA.
        baseline: Its vision-only variant.
        published: The published ablation table of the data set, whose gains are shown too.
    """
    gains = compare_methods(method, baseline)["f1"]
    rates = method.scores.pooled("positive_rate")
    points = PERCENT * gains.estimate
    rho = spearman_correlation(points, rates)
    published_gains = None if published is None else _published_gains(published)
    figure = draw_gains(
        gains.au_labels,
        points,
        PERCENT * gains.intervals,
        rates,
        f"{title}: {method.name} over {baseline.name}, ours",
        rho,
        published_gains,
    )
    named = {label: none_if_undefined(gain) for label, gain in zip(gains.au_labels, points, strict=True)}
    return figure, {"gain_in_points": named, "spearman_rho_with_positive_rate": none_if_undefined(rho)}


def make_similarity_figure(reproduction: Reproduction, title: str, au_labels: Sequence[str]) -> tuple[Figure, dict]:
    """Figure 5: description similarity over training, without and with L_diff, of the first fold and seed."""
    methods = {}
    for variant in (NO_DIFFERENCE_LOSS, FULL):
        moments = read_description_similarities(reproduction.folder(_first_job(reproduction, variant)))
        shown = [list(moments)[index] for index in evenly_spaced(len(moments), MAX_MOMENTS)]
        methods[VARIANT_NAMES[variant]] = {moment: moments[moment] for moment in shown}
    means = {
        method: {moment: float(off_diagonal(matrix).mean()) for moment, matrix in moments.items()}
        for method, moments in methods.items()
    }
    return draw_description_similarities(methods, au_labels, f"{title}, ours"), {"mean_cosine_similarity": means}


def make_attention_figure(reproduction: Reproduction, title: str) -> tuple[Figure, dict]:
    """Figure 6: DDCA and CDCA maps of the full network over test faces of the first fold and seed.

    Faces are chosen by their labels; of the AUs present in a face, those with the highest probabilities are shown.
    """
    job = _first_job(reproduction, FULL)
    faces = _test_faces(reproduction, job)
    examples = faces.select(choose_example_faces(faces, NUM_EXAMPLES, MAPS_PER_EXAMPLE))
    readings = read_faces(reproduction.folder(job), examples)
    pictures = pictures_of(reproduction.folder(job), examples)
    rows = []
    for index, (subject, picture) in enumerate(zip(examples["subject"], pictures, strict=True)):
        surest = np.argsort(-np.where(readings.labels[index] == 1, readings.probabilities[index], -1), kind="stable")
        shown = sorted(surest[:MAPS_PER_EXAMPLE])
        rows.append(
            AttentionExample(
                face=picture,
                name=subject,
                titles=tuple(
                    f"DDCA {readings.au_labels[au]} ({readings.probabilities[index, au]:.2f})" for au in shown
                ),
                ddca_maps=readings.ddca_maps[index, shown],
                cdca_map=readings.cdca_maps[index, shown].mean(axis=0),
            )
        )
    facts = {"subjects": list(examples["subject"]), "largest_multiple_of_even_attention": _peak(readings)}
    return draw_attention_examples(rows, f"{title}, ours"), facts


def make_graph_figure(reproduction: Reproduction, title: str) -> tuple[Figure, dict]:
    """Figure 7: top-K graphs of baseline and full network on the same test faces of the first fold and seed."""
    jobs = {variant: _first_job(reproduction, variant) for variant in (BASELINE, FULL)}
    faces = _test_faces(reproduction, jobs[FULL])
    examples = faces.select(choose_example_faces(faces, NUM_EXAMPLES))
    many = faces.select(evenly_spaced(len(faces), NUM_GRAPH_FACES))
    methods, notes, facts = {}, {}, {}
    for variant, job in jobs.items():
        name = VARIANT_NAMES[variant]
        readings = read_faces(reproduction.folder(job), examples)
        statistics = graph_statistics(read_faces(reproduction.folder(job), many))
        methods[name] = [
            GraphExample(graph, labels, probabilities >= DEFAULT_THRESHOLD)
            for graph, labels, probabilities in zip(
                readings.graphs, readings.labels, readings.probabilities, strict=True
            )
        ]
        notes[name] = (
            f"mean in-degree {statistics.active_in_degree:.2f} of present and {statistics.inactive_in_degree:.2f} of "
            f"absent AUs, {PERCENT * statistics.reciprocity:.0f}% mutual ({statistics.num_faces} faces)"
        )
        facts[name] = vars(statistics)
    pictures = pictures_of(reproduction.folder(jobs[FULL]), examples)
    return draw_graph_examples(pictures, methods, readings.au_labels, notes, f"{title}, ours"), facts


def _published_gains(table: PublishedTable) -> NDArray[np.float64]:
    rows = {row.variant: np.array(row.f1) for row in table.rows}
    return rows[FULL] - rows[BASELINE]


def _first_job(reproduction: Reproduction, variant: str) -> Job:
    return Job(variant, reproduction.folds[0], reproduction.seeds[0])


def _test_faces(reproduction: Reproduction, job: Job) -> Dataset:
    arguments = reproduction.arguments
    return load_au_dataset(arguments.dataset, arguments.data_dir, fold=job.fold, split="test")


def _peak(readings: FaceReadings) -> float:
    maps = np.concatenate([readings.ddca_maps, readings.cdca_maps], axis=1)
    return float(maps.max() * maps.shape[-1] * maps.shape[-2])
