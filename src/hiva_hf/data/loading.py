"""One call for every data set: `load_au_dataset(name, fold=1, split="train")`."""

from pathlib import Path

from datasets import Dataset

from ..synthesis.recipes import SYNTHFACS_AUS
from .folds import check_split, rows_of_subjects, split_subjects


# The AUs of each data set, in the order of its `labels` column.
AU_SETS: dict[str, tuple[int, ...]] = {"synthfacs": SYNTHFACS_AUS}

_EMBEDDED_SYNTHFACS = Path(__file__).parent / "synthfacs"


def load_au_dataset(
    name: str, data_dir: str | Path | None = None, fold: int = 1, split: str = "train", cache_dir: str | None = None
) -> Dataset:
    """Loads aligned face crops with AU labels.

    Args:
        name: `"synthfacs"`, the rendered set that ships with the package.
        data_dir: Folder with Parquet shards of that set, such as `python -m hiva_hf.synthesis` writes. Defaults to the
            shards in the package.
        fold: The part of the subjects that is tested; fold 1 tests part 1.
        split: `"train"`, `"validation"` (subjects carved from the training parts) or `"test"`.
        cache_dir: Where `datasets` keeps its Arrow copy. Defaults to its own cache.

    Returns:
        A dataset with the columns of [`~hiva_hf.data.schema.au_features`]; `labels` follow `AU_SETS[name]`.

    Raises:
        ValueError: if the name, the fold or the split doesn't exist.
        FileNotFoundError: if `data_dir` holds no Parquet shard.
    """
    if name not in AU_SETS:
        raise ValueError(f"There is no AU data set {name!r}. Known: {', '.join(sorted(AU_SETS))}.")
    check_split(split)
    folder = _EMBEDDED_SYNTHFACS if data_dir is None else Path(data_dir)
    shards = sorted(str(path) for path in folder.glob("*.parquet"))
    if not shards:
        raise FileNotFoundError(
            f"{folder} holds no .parquet file. Pass the folder that `python -m hiva_hf.synthesis --output_dir` wrote, "
            "or leave `data_dir` out to load the embedded set."
        )
    dataset = Dataset.from_parquet(shards, cache_dir=cache_dir)
    num_labels = dataset.features["labels"].length
    if num_labels != len(AU_SETS[name]):
        raise ValueError(
            f"The shards in {folder} have {num_labels} labels for each face, but {name} has {len(AU_SETS[name])} AUs: "
            "they were written by another version. Write them again."
        )
    subjects = dataset["subject"][:]
    subject_folds = dict(zip(subjects, dataset["fold"][:], strict=True))
    return dataset.select(rows_of_subjects(subjects, split_subjects(subject_folds, fold)[split]))
