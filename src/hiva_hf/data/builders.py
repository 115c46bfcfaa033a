"""A `datasets` builder over prepared faces: `download_and_prepare`, `as_dataset`, `as_streaming_dataset`."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import ArrowBasedBuilder, BuilderConfig, DatasetInfo, DownloadManager, SplitGenerator
from datasets.builder import Key
from huggingface_hub import is_offline_mode

from .folds import split_set
from .hub import download_shards
from .manifest import FaceSource, Shard
from .parquet import open_shard, read_shard, verify_shards
from .schema import au_features
from .sources import open_source
from .views import arrange_table, check_aus


logger = logging.getLogger(__name__)

# Name of the only split if no fold is requested. "all" is taken: `datasets` uses it for the union of all splits.
ALL_FACES = "faces"


@dataclass
class AUFacesConfig(BuilderConfig):
    """Configuration of [`AUFaces`].

    Attributes:
        fold: Fold that is tested; None for all faces in one split.
        aus: AUs of the label columns; None for those of the set.
    """

    fold: int | None = None
    aus: tuple[int, ...] | None = None


class AUFaces(ArrowBasedBuilder):
    """Builds aligned faces with AU labels from prepared shards, with the splits train, validation and test of a fold.

    A shard is a file (a row group where a file has many subjects). Processes (`num_proc`), nodes and `DataLoader`
    workers divide the shards among themselves. The cache key includes the shards' sizes and modification times:
    changed data are built again.

    Args:
        name: A key of `AU_DATASETS`, or "custom".
        data_dir: As in [`open_source`].
        fold: Fold that is tested; by default all faces are in one split, `as_dataset("all")`.
        aus: AUs of the label columns, -100 for AUs that the set lacks; by default those of the set.
        revision: Branch, tag or commit on the Hub.
        token: For a private data set on the Hub.
        **builder_kwargs: Those of `datasets.DatasetBuilder`, such as `cache_dir`.

    Example:

    ```python
    builder = AUFaces("bp4d", "prepared/bp4d", fold=1)
    builder.download_and_prepare(num_proc=4)
    train = builder.as_dataset(split="train")
    ```
    """

    BUILDER_CONFIG_CLASS = AUFacesConfig
    config: AUFacesConfig

    def __init__(
        self,
        name: str,
        data_dir: str | PathLike | None = None,
        fold: int | None = None,
        aus: Sequence[int] | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        **builder_kwargs: Any,
    ):
        self.source = open_source(name, data_dir, revision, token)
        self.aus = self.source.aus if aus is None else check_aus(aus)
        self.subjects = None if fold is None else split_set(name, self.source.subject_parts, fold)
        # The folder is left out: the fingerprint identifies the data.
        config_id = "-".join([name, "all" if fold is None else f"fold{fold}", *map(str, () if aus is None else aus)])
        super().__init__(
            dataset_name="au_faces",
            config_name=name,
            config_id=config_id,
            hash=self.source.fingerprint,
            token=token,
            fold=fold,
            aus=self.aus,
            **builder_kwargs,
        )

    def _info(self) -> DatasetInfo:
        return DatasetInfo(features=au_features(len(self.aus)))

    def _split_generators(self, dl_manager: DownloadManager) -> list[SplitGenerator]:
        source = self.source
        # Offline, streaming reads the shards that were downloaded before.
        if not dl_manager.is_streaming or is_offline_mode():
            source = download_shards(source, self.token)
        if not dl_manager.is_streaming:
            verify_shards(source)
        if self.subjects is None:
            return [SplitGenerator(name=ALL_FACES, gen_kwargs=_gen_kwargs(source, set(source.subject_parts)))]
        for split, subjects in self.subjects.items():
            if not subjects:
                logger.warning("%s has no subject in the %s split of this fold.", source.place, split)
        return [
            SplitGenerator(name=split, gen_kwargs=_gen_kwargs(source, set(subjects)))
            for split, subjects in self.subjects.items()
            if subjects
        ]

    def _generate_tables(
        self,
        addresses: list[str],
        row_groups: list[tuple[int, ...] | None],
        subjects: list[tuple[str, ...] | None],
    ) -> Iterator[tuple[Key, pa.Table]]:
        """Yields the faces of each shard; only those of its entry in `subjects`, unless that is None."""
        for index, (address, groups, chosen) in enumerate(zip(addresses, row_groups, subjects, strict=True)):
            for number, table in enumerate(read_shard(address, groups, self.token)):
                if chosen is not None:
                    table = table.filter(pc.is_in(table["subject"], value_set=pa.array(chosen)))
                yield Key(index, number), arrange_table(table, self.source.aus, self.aus)

    def _generate_more_gen_kwargs(
        self,
        addresses: list[str],
        row_groups: list[tuple[int, ...] | None],
        subjects: list[tuple[str, ...] | None],
    ) -> Iterator[dict[str, list]]:
        """Splits the shards into one for each row group, as `IterableDataset.reshard` requires."""
        for address, groups, chosen in zip(addresses, row_groups, subjects, strict=True):
            if groups is None:
                with open_shard(address, self.token) as file:
                    groups = tuple(range(file.num_row_groups))
            yield {
                "addresses": [address] * len(groups),
                "row_groups": [(group,) for group in groups],
                "subjects": [chosen] * len(groups),
            }


def _gen_kwargs(source: FaceSource, subjects: set[str]) -> dict[str, list]:
    """The shards with faces of some subjects; lists of equal length, which `datasets` distributes over processes."""
    shards = [shard for shard in source.shards if shard.num_rows and subjects & shard.subjects]
    return {
        "addresses": [source.address(shard) for shard in shards],
        "row_groups": [shard.row_groups for shard in shards],
        "subjects": [_partly(shard, subjects) for shard in shards],
    }


def _partly(shard: Shard, subjects: set[str]) -> tuple[str, ...] | None:
    """The subjects of a shard whose faces are wanted, None for all of them."""
    return None if shard.subjects <= subjects else tuple(sorted(shard.subjects & subjects))
