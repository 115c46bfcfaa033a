"""Code of the README that no other test runs, as it is printed."""

import re
from pathlib import Path

import pytest
from transformers import pipeline

from hiva_hf.training.towers import packaged_text_tower, packaged_vision_tower


REPOSITORY = Path(__file__).parents[1]
README = REPOSITORY / "README.md"


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


def section_anchors(page: str) -> set[str]:
    """As GitHub makes them: lower case, blanks become hyphens, punctuation goes."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ["README.md", "examples/benchmarks/README.md"])
def test_links_lead_to_sections_and_files_that_are_there(page):
    path = REPOSITORY / page
    text = path.read_text(encoding="utf-8")
    links = set(re.findall(r"\]\(([^)\s]+)\)", text))
    sections = {link[1:] for link in links if link.startswith("#")}
    files = {link for link in links if not link.startswith(("#", "https://"))}
    assert sections <= section_anchors(text)
    assert [file for file in files if not (path.parent / file).is_file()] == []
    # A long page is found through by its list of sections.
    assert page != "README.md" or len(sections) >= 15
