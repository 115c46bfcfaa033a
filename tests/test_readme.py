"""Code of the README that no other test runs, as it is printed."""

import re
from pathlib import Path

from transformers import pipeline

from hiva_hf.training.towers import packaged_text_tower, packaged_vision_tower


README = Path(__file__).parents[1] / "README.md"


def python_of(heading: str) -> list[str]:
    section = README.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def test_a_new_network_serves_a_pipeline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    making, fusing, _ = python_of("The network")
    # The towers that come with the training extra, in place of those of the Hub.
    towers = {
        "microsoft/swin-base-patch4-window7-224": packaged_vision_tower(),
        "google-bert/bert-large-uncased": packaged_text_tower(),
    }
    for name, folder in towers.items():
        assert name in making
        making = making.replace(name, str(folder))
    names = {"pipeline": pipeline}
    exec(making, names)
    exec(fusing, names)
    assert list(names["detector"].model.config.au_labels) == ["AU6", "AU12"]
