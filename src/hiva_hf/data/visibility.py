"""Visibility of what is pushed to the Hub: anything made from licensed faces becomes public only if confirmed."""

from huggingface_hub import HfApi
from huggingface_hub.hf_api import DatasetInfo, ModelInfo

from .sets import AU_DATASETS


def needs_confirmation(name: str) -> bool:
    """Whether faces of this set are licensed, or are a user's own, whose licence only the user knows."""
    facts = AU_DATASETS.get(name)
    return facts is None or facts.is_licensed


def check_confirmation(what: str, reason: str, kind: str, repo_id: str, confirm_public: str | None):
    """Raises an error unless publishing was confirmed.

    Args:
        what: What would become public.
        reason: Why that needs a confirmation.
        kind: What the repository holds: "data set" or "model".
        repo_id: `ORG/NAME` of the repository.
        confirm_public: The same again, as confirmation.

    Raises:
        ValueError: if `confirm_public` is not `repo_id`.
    """
    if confirm_public != repo_id:
        raise ValueError(
            f"{what} would become public, but {reason}. If you have the right to publish them, confirm it with "
            f"public=True and confirm_public={repo_id!r} (you passed {confirm_public!r}). Without `public` the {kind} "
            "is private."
        )


def open_repository(api: HfApi, repo_id: str, repo_type: str, is_public: bool, what: str) -> ModelInfo | DatasetInfo:
    """Creates a private repository, or opens an existing one.

    Args:
        api: With a token that has write access.
        repo_id: `ORG/NAME`.
        repo_type: `"model"` or `"dataset"`.
        is_public: Whether the upload may be public.
        what: Name of the upload in messages.

    Raises:
        ValueError: if the repository is public, but the upload may not be.
    """
    url = api.create_repo(repo_id, repo_type=repo_type, private=True, exist_ok=True)
    info = api.repo_info(url.repo_id, repo_type=repo_type)
    if not info.private and not is_public:
        raise ValueError(
            f"{url.repo_id} exists and is public: {what} would be published. Push to another id, make it private "
            "in its settings, or pass `public=True`."
        )
    return info
