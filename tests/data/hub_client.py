"""What a client does at the Hub double, in a process of its own: `python hub_client.py FOLDERS` prints what it saw.

`test_hub.py` starts it with the environment variables that `huggingface_hub` reads when it is imported.
"""

import json
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
from huggingface_hub import HfApi, hf_hub_download
from torch.utils.data import DataLoader

from hiva_hf.data import load_au_dataset, push_prepared_to_hub


TOKEN = "hf_owner"


def error_of(function: Callable, *args: Any, **options: Any) -> str:
    try:
        function(*args, **options)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def rows_of(dataset: datasets.Dataset | datasets.IterableDataset) -> list[list]:
    """What tells rows apart, with the pictures' bytes."""
    plain = dataset.cast_column("image", datasets.Image(decode=False))
    return [[row["subject"], row["task"], row["frame"], row["labels"], row["image"]["bytes"].hex()] for row in plain]


def requests() -> list[str]:
    with urllib.request.urlopen(f"{huggingface_hub.constants.ENDPOINT}/_double/requests") as response:
        return json.load(response)


def uploads() -> int:
    return sum(line.startswith("PUT /_lfs/") and line.endswith(" 200") for line in requests())


def limit_uploads(number: int | None) -> None:
    address = f"{huggingface_hub.constants.ENDPOINT}/_double/uploads-left"
    urllib.request.urlopen(urllib.request.Request(address, json.dumps(number).encode(), method="PUT")).close()


def push_and_push_again(folder: Path) -> dict[str, Any]:
    # The Hub is shared: other tests may have sent files before.
    api, before = HfApi(token=TOKEN), uploads()
    url = push_prepared_to_hub(folder, "org/bp4d", token=TOKEN)
    info, sent = api.dataset_info("org/bp4d"), uploads() - before
    push_prepared_to_hub(folder, "org/bp4d", token=TOKEN)
    return {
        "url": url,
        "private": info.private,
        "files": sorted(file.rfilename for file in info.siblings),
        "num_commits": len(api.list_repo_commits("org/bp4d", repo_type="dataset")),
        "sent": sent,
        "sent_again": uploads() - before - sent,
        "card": Path(hf_hub_download("org/bp4d", "README.md", repo_type="dataset", token=TOKEN)).read_text(),
    }


def interrupted_push(folder: Path) -> dict[str, Any]:
    api, before = HfApi(token=TOKEN), uploads()
    limit_uploads(3)
    error = error_of(push_prepared_to_hub, folder, "org/disfa", token=TOKEN)
    files = [file.rfilename for file in api.dataset_info("org/disfa").siblings]
    limit_uploads(None)
    first = uploads() - before
    push_prepared_to_hub(folder, "org/disfa", token=TOKEN)
    return {"error": error, "files": files, "sent": first, "sent_again": uploads() - before - first}


def stream() -> dict[str, Any]:
    """With nothing in the cache."""
    before = len(requests())
    options = {"fold": 1, "split": "test", "token": TOKEN, "streaming": True}
    rows = rows_of(load_au_dataset("bp4d", "org/bp4d", **options))
    read = {line.split("/data/")[1].split("?")[0].split()[0] for line in requests()[before:] if "/data/" in line}
    loader = DataLoader(
        load_au_dataset("bp4d", "org/bp4d", aus=(12, 45), **options).select_columns(["subject", "frame", "labels"]),
        batch_size=None,
        num_workers=2,
    )
    return {"rows": rows, "files": sorted(read), "by_workers": [[row["subject"], row["labels"]] for row in loader]}


def load() -> dict[str, Any]:
    loaded = {
        split: rows_of(load_au_dataset("bp4d", "org/bp4d", fold=1, split=split, token=TOKEN))
        for split in ("train", "validation", "test")
    }
    by_datasets = datasets.load_dataset("org/bp4d", "fold1", token=TOKEN)
    streamed = datasets.load_dataset("org/bp4d", "fold2", split="test", streaming=True, token=TOKEN)
    return {
        "loaded": loaded,
        "by_datasets": {split: rows_of(faces) for split, faces in by_datasets.items()},
        "features": repr(by_datasets["train"].features),
        "streamed_by_datasets": rows_of(streamed),
        "configs": datasets.get_dataset_config_names("org/bp4d", token=TOKEN),
    }


def refused_reads() -> dict[str, str]:
    """With nothing in the cache."""
    return {
        "anonymous": error_of(load_au_dataset, "bp4d", "org/bp4d"),
        "anonymous_stream": error_of(load_au_dataset, "bp4d", "org/bp4d", streaming=True),
        "stranger": error_of(load_au_dataset, "bp4d", "org/bp4d", token="hf_stranger"),
        "wrong_token": error_of(load_au_dataset, "bp4d", "org/bp4d", token="hf_unknown"),
        "nowhere": error_of(load_au_dataset, "bp4d", "org/nowhere", token=TOKEN),
        "revision": error_of(load_au_dataset, "bp4d", "org/bp4d", revision="v9", token=TOKEN),
        "other_set": error_of(load_au_dataset, "gft", "org/bp4d", token=TOKEN),
    }


def publish(bp4d: Path, custom: Path) -> dict[str, Any]:
    api = HfApi(token=TOKEN)
    push_prepared_to_hub(custom, "org/custom", public=True, confirm_public="org/custom", token=TOKEN)
    commits = len(api.list_repo_commits("org/custom", repo_type="dataset"))
    seen = {
        "custom_is_private": api.dataset_info("org/custom").private,
        "onto_public": error_of(push_prepared_to_hub, bp4d, "org/custom", token=TOKEN),
        "commits_since": len(api.list_repo_commits("org/custom", repo_type="dataset")) - commits,
        "stranger": error_of(push_prepared_to_hub, custom, "org/custom2", token="hf_stranger"),
        "rows_for_all": len(load_au_dataset("custom", "org/custom", split="test")),
    }
    push_prepared_to_hub(bp4d, "org/public", public=True, confirm_public="org/public", token=TOKEN)
    return seen | {"told_twice_is_private": api.dataset_info("org/public").private}


def revisions(custom: Path, changed: Path) -> dict[str, Any]:
    api = HfApi(token=TOKEN)
    push_prepared_to_hub(custom, "org/versions", token=TOKEN)
    api.create_tag("org/versions", tag="v1", repo_type="dataset")
    push_prepared_to_hub(changed, "org/versions", token=TOKEN)
    options = {"split": "test", "token": TOKEN}
    return {
        "v1": rows_of(load_au_dataset("custom", "org/versions", revision="v1", **options)),
        "main": rows_of(load_au_dataset("custom", "org/versions", **options)),
        "files": sorted(file.rfilename for file in api.dataset_info("org/versions").siblings),
    }


def main(folders: Path) -> dict[str, Any]:
    return {
        "pushed": push_and_push_again(folders / "bp4d"),
        "interrupted": interrupted_push(folders / "disfa"),
        "refused": refused_reads(),
        "streamed": stream(),
        "loaded": load(),
        "published": publish(folders / "bp4d", folders / "custom"),
        "revisions": revisions(folders / "custom", folders / "changed"),
    }


if __name__ == "__main__":
    seen = json.dumps(main(Path(sys.argv[1])))
    sys.stdout.write(seen)
