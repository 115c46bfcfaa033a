"""Who may see what is pushed to the Hub: what licensed faces went into becomes public only if one says so twice."""

from huggingface_hub import HfApi
from huggingface_hub.hf_api import DatasetInfo, ModelInfo

from .sets import AU_DATASETS


def needs_confirmation(name: str) -> bool:
    """Whether faces of this set are licensed, or are users' own, whose licence nobody but the user knows."""
    facts = AU_DATASETS.get(name)
    return facts is None or facts.is_licensed


def check_confirmation(what: str, reason: str, kind: str, repo_id: str, confirm_public: str | None):
    """Refuses to publish before somebody has said it twice.

    Args:
        what: What would become public.
        reason: Why that takes two words.
        kind: What the repository holds: "data set" or "model".
        repo_id: `ORG/NAME` of the repository.
        confirm_public: The same once more.

    Raises:
        ValueError: if `confirm_public` is not `repo_id`.
    """
    if confirm_public != repo_id:
        raise ValueError(
            f"{what} would become public, but {reason}. If you have the right to publish them, say so twice: "
            f"public=True and confirm_public={repo_id!r} (you passed {confirm_public!r}). Without `public` the {kind} "
            "is private."
        )


def open_repository(api: HfApi, repo_id: str, repo_type: str, is_public: bool, what: str) -> ModelInfo | DatasetInfo:
    """Makes a private repository, or finds the one that is there.

    Args:
        api: With the token of an account that may write there.
        repo_id: `ORG/NAME`.
        repo_type: `"model"` or `"dataset"`.
        is_public: Whether everybody may see what is about to be pushed.
        what: What that is.

    Raises:
        ValueError: if everybody could see it and should not.
    """
    url = api.create_repo(repo_id, repo_type=repo_type, private=True, exist_ok=True)
    info = api.repo_info(url.repo_id, repo_type=repo_type)
    if not info.private and not is_public:
        raise ValueError(
            f"{url.repo_id} exists and is public: {what} would be published. Push to another id, make it private "
            "in its settings, or pass `public=True`."
        )
    return info
