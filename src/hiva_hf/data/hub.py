"""Data sets on the Hub: reading those that were pushed from a prepared folder, and pushing one."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from .dataset_card import dataset_card
from .folds import folds_of
from .hub_requests import hub_requests
from .manifest import (
    MANIFEST_FILE,
    REMOTE_SCHEME,
    REPORT_FILE,
    REPORT_TEXT_FILE,
    FaceSource,
    Manifest,
    fingerprint_of,
    open_prepared,
    read_manifest,
)
from .parquet import verify_shards
from .sets import AU_DATASETS
from .visibility import check_confirmation, needs_confirmation, open_repository


logger = logging.getLogger(__name__)

CARD_FILE = "README.md"


def is_hub_id(data_dir: str) -> bool:
    """Whether this can be a data set `ORG/NAME` on the Hub."""
    try:
        validate_repo_id(data_dir)
    except HFValidationError:
        return False
    return "/" in data_dir


def open_hub(name: str, repo_id: str, revision: str | None = None, token: str | bool | None = None) -> FaceSource:
    """Reads the manifest of a data set on the Hub, without downloading its shards.

    Args:
        name: Name of the expected set.
        repo_id: `ORG/NAME`.
        revision: Branch, tag or commit.
        token: For a private data set; by default the one that `hf auth login` stored.

    Raises:
        FileNotFoundError: if it doesn't exist, can't be accessed, or was not pushed from a prepared folder.
        ValueError: if it is another set.
    """
    try:
        path = hf_hub_download(repo_id, MANIFEST_FILE, repo_type="dataset", revision=revision, token=token)
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"There is no folder {repo_id}, and no data set of that name on the Hub that you can access. If it is "
            "private, log in with `hf auth login` or pass `token`."
        ) from error
    except RevisionNotFoundError as error:
        raise FileNotFoundError(f"The data set {repo_id} on the Hub has no revision {revision!r}.") from error
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"There is no folder {repo_id}, the Hub's cache holds no data set of that name, and the Hub can't be "
            "reached."
        ) from error
    except EntryNotFoundError as error:
        raise FileNotFoundError(
            f"The data set {repo_id} on the Hub has no {MANIFEST_FILE}: it wasn't pushed by `hiva-hf prepare "
            f"{name} --push_to_hub`."
        ) from error
    # .../snapshots/COMMIT/dataset.json
    commit = Path(path).parent.name
    content = Path(path).read_bytes()
    manifest = read_manifest(content, repo_id, name)
    root = f"{REMOTE_SCHEME}datasets/{repo_id}@{commit}"
    # The manifest has the checksums of all shards.
    return FaceSource(name, manifest.aus, manifest.shards, root, repo_id, fingerprint_of(content), commit)


def download_shards(source: FaceSource, token: str | bool | None = None) -> FaceSource:
    """Downloads the shards of a data set on the Hub to the Hub's cache, from which they can be read offline.

    Args:
        source: From [`open_hub`]; folders are returned as they are.
        token: For a private data set.

    Raises:
        FileNotFoundError: if shards are missing and the Hub can't be reached.
    """
    if source.commit is None:
        return source
    try:
        folder = snapshot_download(
            source.place,
            repo_type="dataset",
            revision=source.commit,
            token=token,
            allow_patterns=[MANIFEST_FILE, "*.parquet"],
        )
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"Not all shards of {source.place} are in the cache, and the Hub can't be reached to download them."
        ) from error
    return replace(source, root=folder, commit=None)


@hub_requests()
def push_prepared_to_hub(
    output_dir: str | Path,
    repo_id: str,
    public: bool = False,
    confirm_public: str | None = None,
    token: str | None = None,
) -> str:
    """Uploads a prepared folder, with a card, as one commit, so that readers see all of it or nothing.

    Shards that were uploaded before are not sent again: the same call resumes an interrupted push.

    Args:
        output_dir: The folder that `hiva-hf prepare` wrote.
        repo_id: `ORG/NAME` of the data set, which is created if it doesn't exist.
        public: Makes it public.
        confirm_public: `repo_id` again, to confirm that licensed faces are to become public.
        token: Token with write access; by default the one that `hf auth login` stored.

    Returns:
        URL of the data set.

    Raises:
        FileNotFoundError, ValueError: if the folder isn't a finished and undamaged preparation.
        ValueError: if no fold tests any subject, faces would become public without `public`, or licensed ones without
            `confirm_public`.
        OSError: if the Hub can't be reached, the account has no write access, or the upload fails.
    """
    folder = Path(output_dir).expanduser()
    manifest, source = open_prepared(folder, str(folder))
    if not folds_of(source.subject_parts):
        raise ValueError(
            f"None of the people in {folder} is ever tested (their `fold` is 0), but data sets on the Hub are read by "
            "folds: give some of them a fold of 1 or higher, and prepare the set again."
        )
    report = _read_report(folder, manifest)
    if public:
        _check_confirmation(manifest, repo_id, confirm_public)
    verify_shards(source)
    api = HfApi(token=token)
    info = open_repository(api, repo_id, "dataset", public, "the faces")
    wanted = {shard.file for shard in manifest.shards}
    outdated = [file.rfilename for file in info.siblings or [] if file.rfilename.endswith(".parquet")]
    operations = [
        CommitOperationAdd(CARD_FILE, str(dataset_card(manifest, report, info.id)).encode()),
        *(CommitOperationAdd(file, folder / file) for file in (MANIFEST_FILE, REPORT_FILE, REPORT_TEXT_FILE)),
        *(CommitOperationAdd(file, folder / file) for file in sorted(wanted)),
        *(CommitOperationDelete(file) for file in outdated if file not in wanted),
    ]
    logger.info("Uploading %d shards of %s to %s.", len(wanted), folder, info.id)
    message = f"{manifest.title}: {sum(shard.num_rows for shard in manifest.shards)} faces"
    try:
        api.create_commit(info.id, operations, commit_message=message, repo_type="dataset")
    except Exception as error:
        raise OSError(
            f"The upload to {info.id} failed ({error}). Nothing of it is visible there yet. Push again: shards "
            "that were uploaded are not sent again."
        ) from error
    if public and info.private:
        api.update_repo_settings(info.id, repo_type="dataset", private=False)
    return f"{api.endpoint}/datasets/{info.id}"


def _read_report(folder: Path, manifest: Manifest) -> dict[str, Any]:
    missing = [file for file in (REPORT_FILE, REPORT_TEXT_FILE) if not (folder / file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} has no {missing[0]}, which is uploaded with the faces. Run the same `hiva-hf prepare "
            f"{manifest.name}` command again: it writes the file without preparing anything twice."
        )
    return json.loads((folder / REPORT_FILE).read_text(encoding="utf-8"))


def _check_confirmation(manifest: Manifest, repo_id: str, confirm_public: str | None):
    if needs_confirmation(manifest.name):
        is_known = manifest.name in AU_DATASETS
        reason = "are licensed and may not be passed on" if is_known else "may be under a licence"
        check_confirmation(manifest.title, f"its faces and labels {reason}", "data set", repo_id, confirm_public)
