"""What a user reads from the Hub double, with nothing but what is installed: `python -I clean_user.py PHOTO MODEL...`.

`test_clean_environments.py` starts it in environments of its own. A model is `ORG/NAME`, `ORG/NAME@REVISION` or a
folder. Where the package is not installed, code comes from the repository.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


HAS_PACKAGE = importlib.util.find_spec("hiva_hf") is not None
TRUST = {} if HAS_PACKAGE else {"trust_remote_code": True}
if HAS_PACKAGE:
    import hiva_hf  # noqa: F401

import datasets  # noqa: E402
import torch  # noqa: E402
from huggingface_hub import hf_hub_download  # noqa: E402
from PIL import Image  # noqa: E402
from transformers import AutoConfig, AutoImageProcessor, AutoModel, pipeline  # noqa: E402


def read_model(model: str, photo: str) -> dict[str, Any]:
    name, _, revision = model.partition("@")
    options = TRUST | ({"revision": revision} if revision else {})
    config = AutoConfig.from_pretrained(name, **options)
    processor = AutoImageProcessor.from_pretrained(name, **options)
    network = AutoModel.from_pretrained(name, **options).eval()
    detector = pipeline("au-detection", model=name, **options)
    with torch.no_grad():
        logits = network(**processor(images=Image.open(photo).convert("RGB"), return_tensors="pt")).logits
    return {
        "modules": sorted({type(part).__module__.split(".")[0] for part in (config, processor, network, detector)}),
        "labels": list(config.id2label.values()),
        "logits": logits.tolist(),
        "faces": detector(photo),
    }


def read_files(repo: str) -> dict[str, Any]:
    """Single files at the revision v1."""
    return {
        name: json.loads(Path(hf_hub_download(repo, name, revision="v1")).read_text())
        for name in ("all_results.json", "descriptions.json")
    }


def read_dataset(repo: str) -> list[list[Any]]:
    rows = datasets.load_dataset(repo, "fold1", split="test")
    return [[row["subject"], row["frame"], row["labels"], row["image"].getpixel((0, 0))] for row in rows]


def read_without_token(repo: str) -> str:
    with TemporaryDirectory() as cache:
        try:
            AutoModel.from_pretrained(repo, token=False, cache_dir=cache, **TRUST)
        except OSError as error:
            return f"OSError: {error}"
    return "no error"


def main(photo: str, models: list[str]) -> dict[str, Any]:
    seen = {"models": {model: read_model(model, photo) for model in models}}
    if "HF_TOKEN" not in os.environ:
        return seen
    seen |= {"files": read_files("org/public"), "dataset": read_dataset("org/faces")}
    return seen | {"without_token": read_without_token("org/private")}


if __name__ == "__main__":
    result = json.dumps(main(sys.argv[1], sys.argv[2:]))
    sys.stdout.write(f"\n{result}")
