"""Publish the folder of a run in a repository on the Hub."""

import logging
import re
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from transformers.utils import CONFIG_NAME

from ..data.hub_requests import hub_requests
from ..data.visibility import check_confirmation, open_repository
from ..remote_code import CONFIGS, code_files
from ..training.run_folder import (
    ENVIRONMENT_FILE,
    METRICS_FILE,
    PHOTO_PICTURE,
    RESOURCES_FILE,
    RESULTS_PICTURE,
    SETTINGS_FILE,
    TEST_PREDICTIONS_FILE,
    TEST_SENTENCES_FILE,
    VALIDATION_PREDICTIONS_FILE,
)
from .finished_run import FinishedRun, read_finished_run
from .model_card import PhotoAgreement
from .staging import DESCRIPTIONS_FILE, TRAINING_FOLDER, WRITER_FILES, stage_run
from .verification import verify_published_model


logger = logging.getLogger(__name__)

# Files of earlier pushes that are not part of this one are deleted; files that others added are kept.
_OWN_WEIGHTS = re.compile(r"(training/)?model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")
_OWN_FILES = {
    RESULTS_PICTURE,
    PHOTO_PICTURE,
    DESCRIPTIONS_FILE,
    *WRITER_FILES,
    METRICS_FILE,
    RESOURCES_FILE,
    ENVIRONMENT_FILE,
    SETTINGS_FILE,
    TEST_PREDICTIONS_FILE,
    VALIDATION_PREDICTIONS_FILE,
    TEST_SENTENCES_FILE,
    f"{TRAINING_FOLDER}/{CONFIG_NAME}",
}


@hub_requests()
def push_run_to_hub(
    run_dir: str | Path,
    repo_id: str,
    private: bool = False,
    public: bool = False,
    confirm_public: str | None = None,
    training_checkpoint: bool = False,
    photo_agreement: PhotoAgreement | None = None,
    tag: str | None = None,
    token: str | None = None,
) -> str:
    """Publishes a trained run as one commit, and verifies the download against it.

    A new repository is private until it has been verified. It stays private for a run on licensed faces, or on the
    user's own; any other becomes public unless `private` is set. A repository that was private before, such as after
    an interrupted push, stays private unless `public` is set; a warning says so.

    Args:
        run_dir: The folder that `examples/train.py` wrote.
        repo_id: `ORG/NAME` of the model; created if it does not exist.
        private: Whether to make the repository private.
        public: Whether to make it public.
        confirm_public: `repo_id` again, which is required to make models of licensed faces public.
        training_checkpoint: Whether to publish the network with its text encoder, too, in the folder `training`.
        photo_agreement: Agreement of the detector with another one on real photos, for the card.
        tag: Name of this version, by which it can be loaded (`revision`).
        token: Token with write access; by default the one that `hf auth login` stored.

    Returns:
        URL of the repository.

    Raises:
        FileNotFoundError: if the run is not finished.
        ValueError: if it would become public without confirmation, contains something that must not be published, or
            the tag exists.
        OSError: if the Hub can't be reached, the account has no write access, or the upload fails.
        PublishedModelError: if the download differs from the run.
    """
    run = read_finished_run(run_dir)
    is_public = _decide_visibility(run, repo_id, private, public, confirm_public)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        stage_run(run, folder, repo_id, training_checkpoint, photo_agreement, token)
        api = HfApi(token=token)
        is_new = not api.repo_exists(repo_id)
        info = open_repository(api, repo_id, "model", is_public, "the model")
        _check_tag(api, info.id, tag)
        commit = _upload(api, info.id, folder, {file.rfilename for file in info.siblings or []})
        logger.info("Downloading %s into an empty cache, to compare it with %s.", info.id, run.path)
        verify_published_model(run.path, folder, info.id, commit, token)
    if tag is not None:
        api.create_tag(info.id, tag=tag, revision=commit)
    if info.private and is_public:
        _open_to_all(api, info.id, is_new or public)
    return f"{api.endpoint}/{info.id}"


def _open_to_all(api: HfApi, repo_id: str, is_meant: bool) -> None:
    """Makes a private repository public if `is_meant`, and otherwise warns that it stays private."""
    if is_meant:
        api.update_repo_settings(repo_id, private=False)
        return
    logger.warning(
        "%s was private before this push, or an earlier push to it was interrupted: it stays private. "
        "`hiva-hf push --public` makes it public.",
        repo_id,
    )


def _decide_visibility(
    run: FinishedRun, repo_id: str, private: bool, public: bool, confirm_public: str | None
) -> bool:
    if private and public:
        raise ValueError("`private` and `public` are both set: choose one.")
    if public and run.is_restricted:
        sets = ", ".join(sorted({run.dataset, *run.training_datasets}))
        check_confirmation(
            f"The weights that {run.path} learned from {sets}",
            "those faces are licensed or may be, and the licence may cover what is learned from them (the model card "
            "says what to check)",
            "model",
            repo_id,
            confirm_public,
        )
    return public or not (private or run.is_restricted)


def _check_tag(api: HfApi, repo_id: str, tag: str | None) -> None:
    """Checks, before anything is sent, that the tag is new: an existing version must not change."""
    if tag is not None and tag in {ref.name for ref in api.list_repo_refs(repo_id).tags}:
        raise ValueError(
            f"{repo_id} already has a version {tag!r}. Nothing was sent. Choose another tag, or delete that one with "
            f"`hf repos tag delete {repo_id} {tag}`."
        )


def _upload(api: HfApi, repo_id: str, folder: Path, present: set[str]) -> str:
    """Uploads the folder and returns the commit. Files from an interrupted push are not sent again."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    wanted = {path.relative_to(folder).as_posix(): path for path in files}
    operations = [CommitOperationAdd(name, path) for name, path in wanted.items()]
    operations += [CommitOperationDelete(name) for name in sorted(_outdated(present, set(wanted)))]
    logger.info("Uploading %d files to %s.", len(wanted), repo_id)
    try:
        return api.create_commit(repo_id, operations, commit_message="AU detector, with its code and results").oid
    except Exception as error:
        raise OSError(
            f"The upload to {repo_id} failed ({error}). Nothing of it is visible there yet. Push again: weights that "
            "were uploaded are not sent again."
        ) from error


def _outdated(present: set[str], wanted: set[str]) -> set[str]:
    """Files of a repository that come from an earlier push and are not part of this one."""
    own = _OWN_FILES | {path.name for model_type in CONFIGS for path in code_files(model_type)}
    return {name for name in present - wanted if name in own or _OWN_WEIGHTS.fullmatch(name)}
