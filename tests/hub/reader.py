"""What somebody loads from the Hub double: `python reader.py PHOTO installed|hidden` prints what it gave.

`hidden`: every import of the package fails as if it were not installed, and code comes from the repository.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any


class HiddenPackage:
    """Stands before all other finders of modules."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hiva_hf":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


IS_HIDDEN = sys.argv[2] == "hidden"
if IS_HIDDEN:
    sys.meta_path.insert(0, HiddenPackage())
else:
    import hiva_hf  # noqa: F401

import torch  # noqa: E402
from huggingface_hub import hf_hub_download  # noqa: E402
from transformers import (  # noqa: E402
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    pipeline,
)
from vl_fau_reading import read_vl_fau  # noqa: E402


TRUST = {"trust_remote_code": True} if IS_HIDDEN else {}


def read(repo: str, photo: str, **options: Any) -> dict[str, Any]:
    processor = AutoImageProcessor.from_pretrained(repo, **TRUST, **options)
    config = AutoConfig.from_pretrained(repo, **TRUST, **options)
    detector = pipeline("au-detection", model=repo, **TRUST, **options)
    pixel_values = torch.linspace(-2, 2, 3 * 56 * 56).reshape(1, 3, 56, 56)
    logits = []
    for auto_class in (AutoModel, AutoModelForImageClassification):
        model = auto_class.from_pretrained(repo, **TRUST, **options)
        with torch.no_grad():
            logits.append(model(pixel_values=pixel_values).logits.tolist())
    return {
        "modules": sorted({type(part).__module__.split(".")[0] for part in (processor, config, detector, model)}),
        "logits": logits,
        "aus": detector(photo, detect_faces=False)[0]["aus"],
    }


def main(photo: str) -> dict[str, Any]:
    seen = {repo: read(repo, photo) for repo in ("org/hiva", "org/disfa", "org/parts", "org/pipe")}
    seen["v1"] = read("org/hiva", photo, revision="v1")
    with tempfile.TemporaryDirectory() as copy:
        pipeline("au-detection", model="org/hiva", **TRUST).save_pretrained(copy)
        seen["copy"] = read(copy, photo)
    with tempfile.TemporaryDirectory() as copy:
        pipeline("au-detection", model="org/vl-fau", revision="v1", **TRUST).save_pretrained(copy)
        seen["vl_fau_copy"] = read_vl_fau(copy, photo, **TRUST)
    seen["vl_fau"] = [
        read_vl_fau("org/vl-fau", photo, revision="v1", **TRUST),
        read_vl_fau("org/vl-fau-pipe", photo, **TRUST),
    ]
    seen["descriptions"] = sorted(json.loads(Path(hf_hub_download("org/hiva", "descriptions.json")).read_text()))
    if IS_HIDDEN:
        try:
            AutoModel.from_pretrained("org/hiva", trust_remote_code=False)
        except ValueError as error:
            seen["without_trust"] = str(error)
    return seen


if __name__ == "__main__":
    seen = json.dumps(main(sys.argv[1]))
    sys.stdout.write(f"\n{seen}")
