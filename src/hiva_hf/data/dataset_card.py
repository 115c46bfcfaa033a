"""The card (README.md) of a data set on the Hub: what is in it, how it was made, and what may be done with it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from datasets import DatasetInfo, SplitDict, SplitInfo
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCard, DatasetCardData

from ..facs import ACTION_UNITS
from ..markdown_tables import markdown_table
from .folds import folds_of, split_set
from .manifest import CUSTOM, Manifest, Shard, subject_parts_of
from .schema import au_features
from .sets import AU_DATASETS


_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_COLUMNS = {
    "image": "the face, cropped and aligned by five landmarks, as JPEG",
    "labels": "1 (present), 0 (absent) or -100 (not coded) for each AU, in the order of the AUs below",
    "intensities": "0 to 5, or -100 where it was not coded, in the same order",
    "subject": "the person whose face it is",
    "task": "the recording of the subject",
    "frame": "number of the frame in the recording, as in the label files",
    "fold": "part of the subjects: fold k tests part k; part 0 is never tested",
    "detector_score": "confidence of the face detector, 0 to 1",
}


def dataset_card(manifest: Manifest, report: Mapping[str, Any], repo_id: str) -> DatasetCard:
    """Writes the card of a prepared set.

    Args:
        manifest: Contents of the set.
        report: The `report.json` of its preparation.
        repo_id: Repository of the set.
    """
    if manifest.name == CUSTOM:
        # All custom sets have the same title.
        manifest = replace(manifest, title=repo_id.split("/")[-1])
    folds = {fold: shards_of_splits(manifest, fold) for fold in folds_of(subject_parts_of(manifest.shards))}
    sections = (
        _introduction(manifest),
        _licence(manifest),
        _use(manifest, repo_id, folds),
        _folds(folds),
        _action_units(report),
        _preparation(report),
    )
    text = "\n\n".join("\n".join(section) for section in sections)
    return DatasetCard(f"---\n{_metadata(manifest, folds).to_yaml()}\n---\n\n{text}\n")


def shards_of_splits(manifest: Manifest, fold: int) -> dict[str, list[Shard]]:
    """The shards of each split of a fold, without empty splits."""
    splits = split_set(manifest.name, subject_parts_of(manifest.shards), fold)
    shards = {
        split: [shard for shard in manifest.shards if shard.num_rows and shard.subjects <= set(subjects)]
        for split, subjects in splits.items()
    }
    return {split: files for split, files in shards.items() if files}


def _metadata(manifest: Manifest, folds: Mapping[int, Mapping[str, Sequence[Shard]]]) -> DatasetCardData:
    num_rows = _num_rows(manifest.shards)
    metadata = DatasetCardData(
        license="other",
        license_name=f"{manifest.name}-licence",
        pretty_name=f"{manifest.title}, aligned faces with Action Units",
        task_categories=["image-classification"],
        tags=["facial-action-units", "au-detection", "hiva-hf"],
        size_categories=[next((name for limit, name in _SIZES if num_rows < limit), "n>1M")],
        configs=[{"config_name": f"fold{fold}", "data_files": _data_files(splits)} for fold, splits in folds.items()],
    )
    infos = {f"fold{fold}": _dataset_info(manifest, splits) for fold, splits in folds.items()}
    DatasetInfosDict(infos).to_dataset_card_data(metadata)
    return metadata


def _data_files(splits: Mapping[str, Sequence[Shard]]) -> list[dict[str, Any]]:
    return [{"split": split, "path": [shard.file for shard in shards]} for split, shards in splits.items()]


def _dataset_info(manifest: Manifest, splits: Mapping[str, Sequence[Shard]]) -> DatasetInfo:
    """Features and sizes, by which `datasets` detects an incomplete split."""
    sizes = [SplitInfo(name=split, num_examples=_num_rows(shards)) for split, shards in splits.items()]
    return DatasetInfo(features=au_features(len(manifest.aus)), splits=SplitDict.from_split_dict(sizes, "au_faces"))


def _num_rows(shards: Iterable[Shard]) -> int:
    return sum(shard.num_rows for shard in shards)


def _num_subjects(shards: Iterable[Shard]) -> int:
    return len(subject_parts_of(shards))


def _introduction(manifest: Manifest) -> Iterator[str]:
    yield f"# {manifest.title}, aligned faces with Action Units"
    yield ""
    yield (
        f"{_num_rows(manifest.shards):,} faces of {_num_subjects(manifest.shards)} people, with the presence of "
        f"{len(manifest.aus)} Action Units (AUs, the muscle movements of the Facial Action Coding System) in each. "
        "Prepared by `hiva-hf prepare`."
    )
    yield ""
    yield (
        "**These pictures show the faces of people: they are personal data.** Keep, share and delete them as the "
        "people in them have agreed and as the law requires. Don't use them to identify anyone."
    )


def _licence(manifest: Manifest) -> Iterator[str]:
    facts = AU_DATASETS.get(manifest.name)
    yield "## Licence"
    yield ""
    if facts is None:
        yield "Only those who recorded these faces know how they may be used: ask them before you share the faces."
    elif facts.is_licensed:
        yield (
            f"The authors of {manifest.title} license its pictures and labels to research groups, who may not share "
            "them. This is a copy in another form, under the same licence: keep it private, and give access only to "
            "people whom that licence covers."
        )
    else:
        yield f"The faces of {manifest.title} may be shared."


def _use(manifest: Manifest, repo_id: str, folds: Mapping[int, Mapping[str, Sequence[Shard]]]) -> Iterator[str]:
    fold = next(iter(folds))
    yield "## Use"
    yield ""
    yield "```python"
    yield "import datasets, hiva_hf"
    yield ""
    yield f'train = hiva_hf.load_au_dataset("{manifest.name}", "{repo_id}", fold={fold}, split="train")'
    yield f'train = datasets.load_dataset("{repo_id}", "fold{fold}", split="train")  # the same faces'
    yield "```"
    yield ""
    features = au_features(len(manifest.aus))
    rows = [[f"`{name}`", f"`{_type_of(features[name])}`", meaning] for name, meaning in _COLUMNS.items()]
    yield markdown_table([["column", "type", "meaning"], *rows], [False] * 3)


def _type_of(feature: Any) -> str:
    if hasattr(feature, "feature"):
        return f"{feature.feature.dtype}[{feature.length}]"
    return type(feature).__name__.lower() if feature.dtype.startswith("PIL") else feature.dtype


def _folds(folds: Mapping[int, Mapping[str, Sequence[Shard]]]) -> Iterator[str]:
    yield "## Folds"
    yield ""
    yield "No person is in two splits. Validation people are taken from those who are not tested."
    yield ""
    rows = [
        [f"`fold{fold}`", split, str(_num_subjects(shards)), f"{_num_rows(shards):,}"]
        for fold, splits in folds.items()
        for split, shards in splits.items()
    ]
    yield markdown_table([["config", "split", "people", "faces"], *rows], [False, False, True, True])
    yield ""
    for fold, splits in folds.items():
        yield f"- `fold{fold}` tests {' '.join(sorted(subject_parts_of(splits.get('test', ()))))}"


def _action_units(report: Mapping[str, Any]) -> Iterator[str]:
    parts = [str(part["part"]) for part in report["parts"]]
    yield "## Action Units"
    yield ""
    yield "Positive rate: share of the frames that show an AU among those in which it was coded."
    yield ""
    rows = [
        [
            f"AU{figures['au']}",
            ACTION_UNITS[figures["au"]].name,
            _percent(figures["positive_rate_written"]),
            *(_percent(figures["positive_rate_per_part"][part]) for part in parts),
            f"{figures['missing']:,}",
        ]
        for figures in report["aus"]
    ]
    head = ["AU", "name", "faces", *(f"part {part}" for part in parts), "frames not coded"]
    yield markdown_table([head, *rows], [column not in ("AU", "name") for column in head])


def _percent(rate: float | None) -> str:
    return "n/a" if rate is None else f"{100 * rate:.1f} %"


def _preparation(report: Mapping[str, Any]) -> Iterator[str]:
    yield "## How it was made"
    yield ""
    yield (
        f"Of {report['labelled']['found']:,} labelled frames, {report['written']:,} became rows. Verdict of the "
        f"preparation: {report['verdict']['headline']}."
    )
    yield ""
    yield from (f"- {finding}" for finding in report["verdict"]["findings"])
    yield from (f"- {count:,} times: {kind}" for kind, count in report["problem_counts"].items() if count)
    yield from (f"- setting `{name}`: `{value}`" for name, value in report["settings"].items())
    yield ""
    yield "See `report.txt` and `report.json` for details."
