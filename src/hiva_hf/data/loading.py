"""One call for every data set: `load_au_dataset(name, fold=1, split="train")`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from datasets import Dataset, IterableDataset, concatenate_datasets, config

from .builders import AUFaces
from .folds import check_fold, check_split, folds_of, split_set
from .manifest import FaceSource, title_of
from .sources import open_source
from .views import arrange_dataset, check_aus, select_subjects


DataDir = str | Path | None


def load_au_dataset(
    name: str,
    data_dir: DataDir = None,
    fold: int = 1,
    split: str = "train",
    aus: Sequence[int] | None = None,
    streaming: bool = False,
    cache_dir: str | Path | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
) -> Dataset | IterableDataset:
    """Loads aligned face crops with AU labels.

    Args:
        name: `"bp4d"`, `"disfa"`, `"gft"`, `"custom"`, or `"synthfacs"`, the rendered set that ships with the package.
        data_dir: The folder that `hiva-hf prepare` wrote, or the id of a data set on the Hub that was pushed from one
            and is downloaded once. For SynthFACS also a folder that `python -m hiva_hf.synthesis` wrote; defaults to
            the shards in the package.
        fold: Fold to load; fold 1 tests the subjects of part 1.
        split: `"train"`, `"validation"` (drawn from the subjects that are not tested; for GFT the customary ones) or
            `"test"`.
        aus: AUs of `labels` and `intensities`, in this order, -100 for those that the set lacks. By default those of
            the set, as [`au_numbers`] gives them.
        streaming: Reads shards as they are iterated over, without a copy on disk; from the Hub without downloading
            all of them.
        cache_dir: Where `datasets` keeps its Arrow copy. Defaults to its own cache. Downloads from the Hub go to the
            Hub's cache.
        revision: Branch, tag or commit on the Hub.
        token: For a private data set on the Hub; by default the one that `hf auth login` stored.

    Returns:
        A dataset with the columns of [`~hiva_hf.data.schema.au_features`].

    Raises:
        ValueError: if the name, the fold, the split or an AU doesn't exist, the split has no subject, or the folder is
            unfinished, damaged, or another set.
        FileNotFoundError: if there is no such folder or data set, or no shard in it.
    """
    check_split(split)
    source = open_source(name, data_dir, revision, token)
    wanted = source.aus if aus is None else check_aus(aus)
    subjects = _subjects_of_split(source, fold, split)
    # One copy on disk serves all folds and all choices of AUs.
    choice = {"fold": fold, "aus": aus} if streaming else {}
    with _told_of_the_cache(cache_dir):
        builder = AUFaces(name, data_dir, revision=source.commit, token=token, cache_dir=cache_dir, **choice)
        if streaming:
            return builder.as_streaming_dataset(split=split)
        builder.download_and_prepare()
        everyone = arrange_dataset(builder.as_dataset(split="all"), source.aus, wanted)
    return select_subjects(everyone, subjects, split)


@contextmanager
def _told_of_the_cache(cache_dir: str | Path | None) -> Iterator[None]:
    """Says what to do if the cache is not writable: containers often have no home directory."""
    try:
        yield
    except OSError as error:
        cache = Path(cache_dir or config.HF_DATASETS_CACHE)
        if _can_write(cache):
            raise
        raise PermissionError(
            f"{cache}, where `datasets` keeps its copy of the faces, is not writable ({error}). Set HF_HOME to a "
            "writable folder, as in `export HF_HOME=/scratch/me/huggingface`, or pass `cache_dir`."
        ) from error


def _can_write(folder: Path) -> bool:
    # "~" stays as it is where the home directory is unknown.
    if folder.parts[0] == "~":
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def load_au_datasets(
    sources: Mapping[str, DataDir] | Iterable[tuple[str, DataDir]],
    fold: int | Sequence[int] = 1,
    split: str = "train",
    aus: Sequence[int] | None = None,
    streaming: bool = False,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
) -> Dataset | IterableDataset:
    """Loads the same split of several data sets and concatenates them.

    Args:
        sources: Names and folders (or ids on the Hub), such as `{"bp4d": "prepared/bp4d", "synthfacs": None}`; a list
            of pairs if a name occurs twice.
        fold: As in [`load_au_dataset`]: one for all sets, or one for each.
        split: Which split.
        aus: By default all AUs that at least one of the sets codes, ascending;
            [`~hiva_hf.data.sets.shared_aus`] gives those that all of them code.
        streaming: Whether to read shards as they are iterated over.
        cache_dir: Where `datasets` keeps its Arrow copies.
        token: For private data sets on the Hub.

    Raises:
        ValueError: as in [`load_au_dataset`], or if a subject is in two of the sets, or `fold` has not one entry for
            each set.
    """
    pairs = list(sources.items() if isinstance(sources, Mapping) else sources)
    if not pairs:
        raise ValueError("`sources` is empty, expected at least one data set.")
    opened = [open_source(name, data_dir, token=token) for name, data_dir in pairs]
    _check_apart(opened)
    wanted = sorted({au for source in opened for au in source.aus}) if aus is None else aus
    options = {"streaming": streaming, "cache_dir": cache_dir, "token": token}
    folds = list(fold) if isinstance(fold, Sequence) else [fold] * len(pairs)
    if len(folds) != len(pairs):
        raise ValueError(f"`fold` has {len(folds)} entries, but there are {len(pairs)} data sets.")
    return concatenate_datasets(
        [
            load_au_dataset(name, data_dir, number, split, wanted, **options)
            for (name, data_dir), number in zip(pairs, folds, strict=True)
        ]
    )


def au_numbers(
    name: str, data_dir: DataDir = None, revision: str | None = None, token: str | bool | None = None
) -> tuple[int, ...]:
    """The AUs of a data set, in the order of its `labels`. Arguments are those of [`load_au_dataset`]."""
    return open_source(name, data_dir, revision, token).aus


def fold_numbers(
    name: str, data_dir: DataDir = None, revision: str | None = None, token: str | bool | None = None
) -> list[int]:
    """The folds of a data set, ascending. Arguments are those of [`load_au_dataset`]."""
    return folds_of(open_source(name, data_dir, revision, token).subject_parts)


def _subjects_of_split(source: FaceSource, fold: int, split: str) -> list[str]:
    parts = source.subject_parts
    check_fold(fold, parts, f"{source.place} ({title_of(source.name)})")
    subjects = split_set(source.name, parts, fold)[split]
    if not subjects:
        found = ", ".join(f"{subject} (part {part})" for subject, part in sorted(parts.items()))
        reason = " Validation needs at least two people who are not tested." if split == "validation" else ""
        raise ValueError(
            f"The {split} split of fold {fold} is empty: {source.place} holds only these subjects of "
            f"{title_of(source.name)}: {found}.{reason}"
        )
    return subjects


def _check_apart(sources: Sequence[FaceSource]):
    """Raises a ValueError for a subject in two sets, who could be in both training and test."""
    place_of: dict[str, str] = {}
    for source in sources:
        for subject in source.subject_parts:
            if subject in place_of:
                raise ValueError(
                    f"Subject {subject} is in {place_of[subject]} and in {source.place}: rows of two people, or the "
                    "same rows twice, would be taken for one person's. Leave one of the sets out, or prepare it with "
                    "other subject names."
                )
        place_of |= dict.fromkeys(source.subject_parts, source.place)
