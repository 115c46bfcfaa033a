"""The rendered sample that ships with the package is what it says it is."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from PIL import Image

import hiva_hf.data
from hiva_hf.data.schema import au_features
from hiva_hf.synthesis.recipes import SYNTHFACS_AUS


SHARDS = sorted((Path(hiva_hf.data.__file__).parent / "synthfacs").glob("*.parquet"))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    cache = str(tmp_path_factory.mktemp("datasets"))
    return load_dataset("parquet", data_files=[str(path) for path in SHARDS], split="train", cache_dir=cache)


def test_columns_are_those_of_the_schema(table):
    # Rendered before the score was kept; loading fills in nulls.
    expected = au_features(len(SYNTHFACS_AUS))
    del expected["detector_score"]
    assert table.features == expected


def test_size_is_within_what_a_package_can_carry():
    assert SHARDS
    assert sum(path.stat().st_size for path in SHARDS) <= 20_000_000


def test_counts(table):
    assert len(table) >= 3000
    assert len(set(table["subject"])) >= 210
    pairs = list(zip(table["subject"], table["frame"], strict=True))
    assert len(set(pairs)) == len(pairs)


def test_folds_are_balanced_and_subject_disjoint(table):
    fold_of = {}
    for subject, fold in zip(table["subject"], table["fold"], strict=True):
        assert fold_of.setdefault(subject, fold) == fold
    counts = Counter(table["fold"])
    assert set(counts) == {1, 2, 3}
    assert max(counts.values()) - min(counts.values()) <= 0.02 * len(table)


def test_labels_are_exact(table):
    labels, intensities = np.array(table["labels"]), np.array(table["intensities"])
    assert np.array_equal(labels == 1, intensities >= 2)
    assert set(np.unique(labels)) == {0, 1}
    assert set(np.unique(intensities)) == {0, 2, 3, 4, 5}


def test_every_au_has_positives_in_every_fold(table):
    labels, folds = np.array(table["labels"]), np.array(table["fold"])
    for fold in (1, 2, 3):
        rates = labels[folds == fold].mean(axis=0)
        assert rates.min() > 0.06
        assert rates.max() < 0.45


def test_every_subject_has_a_neutral_face(table):
    intensities = np.array(table["intensities"])
    neutral = {subject for subject, row in zip(table["subject"], intensities, strict=True) if not row.any()}
    assert neutral == set(table["subject"])


def test_pictures_are_small_jpegs(table):
    encoded = table.select(range(0, len(table), 97)).with_format("arrow")["image"].to_pylist()
    for image in encoded:
        picture = Image.open(io.BytesIO(image["bytes"]))
        assert (picture.format, picture.size, picture.mode) == ("JPEG", (160, 160), "RGB")
        assert np.asarray(picture).std() > 8
