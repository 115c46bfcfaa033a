"""The Space of the Hub in `examples/space/`."""

import runpy
import tomllib
from pathlib import Path

import gradio as gr


ROOT = Path(__file__).parents[2]
SPACE = ROOT / "examples" / "space"


def with_extras(requirements: list[str], extras: dict[str, list[str]]) -> set[str]:
    """Puts the packages of our own extras in the place of "hiva-hf[...]"."""
    packages = set()
    for requirement in requirements:
        own = requirement.startswith("hiva-hf[")
        packages |= with_extras(extras[requirement[8:-1]], extras) if own else {requirement}
    return packages


def test_its_requirements_are_those_of_the_package_and_the_page():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = with_extras([*project["dependencies"], "hiva-hf[demo]"], project["optional-dependencies"])
    assert (SPACE / "requirements.txt").read_text().split("\n")[:-1] == sorted(wanted)


def test_its_script_builds_the_page(monkeypatch, decided_model_dir):
    # The detector that comes with the package is 50 MB: a small one stands for it.
    monkeypatch.setattr("hiva_hf.packaged_checkpoint.STARTER_FOLDER", decided_model_dir)
    demo = runpy.run_path(str(SPACE / "app.py"))["demo"]
    assert isinstance(demo, gr.Blocks) and demo.title == "Facial Action Units"
