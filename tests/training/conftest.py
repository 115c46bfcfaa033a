"""Training runs on small real towers, in this process or in others that can be killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hiva_hf.data import MISSING_LABEL, load_au_dataset
from hiva_hf.training.arguments import AUTrainingArguments
from hiva_hf.training.hiva_runs import HiVATrainingRun


@pytest.fixture(scope="session")
def make_settings(small_network) -> Callable[..., dict]:
    """Settings of a run of a few seconds, as `AUTrainingArguments` takes them."""

    def make(output_dir: Path, **overrides) -> dict:
        settings = {
            "output_dir": str(output_dir),
            "stage1_epochs": 2,
            "stage2_epochs": 2,
            "per_device_train_batch_size": 16,
            "max_train_samples": 48,
            "max_eval_samples": 96,
        }
        return small_network | settings | overrides

    return make


@pytest.fixture(scope="session")
def make_arguments(make_settings) -> Callable[..., AUTrainingArguments]:
    return lambda output_dir, **overrides: AUTrainingArguments(**make_settings(output_dir, **overrides))


@pytest.fixture(scope="session")
def finished_run(make_arguments, tmp_path_factory) -> tuple[HiVATrainingRun, dict]:
    """A run of HiVA, and its results."""
    run = HiVATrainingRun(make_arguments(tmp_path_factory.mktemp("run")))
    return run, run.run()


# Windows has but one way to end a process.
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


@dataclass
class RunProcesses:
    """The processes of one training run."""

    ids: list[int]
    log: Path
    ask: Callable[[dict], int]

    def kill(self, number: int = KILL):
        for process in self.ids:
            os.kill(process, number)

    def wait(self) -> list[int]:
        """Exit codes; negative for a signal that ended a process."""
        return [self.ask({"wait": process}) for process in self.ids]

    def finish(self):
        """Waits for a run that is to succeed."""
        codes = self.wait()
        assert codes == [0] * len(codes), self.log.read_text()

    def kill_when(self, condition: Callable[[], bool], number: int = KILL) -> list[int]:
        """Sends a signal as soon as something has happened in the run's folder, and returns the exit codes."""
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.002)
        self.kill(number)
        return self.wait()


@pytest.fixture(scope="session")
def start_run(tmp_path_factory) -> Callable[..., RunProcesses]:
    """Starts a run of one or more processes: `start_run(settings, num_processes)`."""
    logs = tmp_path_factory.mktemp("logs")
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("fork_server.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )

    def ask(request: dict) -> int:
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        return int(server.stdout.readline())

    def start(settings: dict, num_processes: int = 1, environment: dict | None = None) -> RunProcesses:
        log = logs / f"{len(list(logs.iterdir()))}.log"
        log.touch()
        port = free_port()
        ids = []
        for index in range(num_processes):
            variables = dict(environment or {})
            if num_processes > 1:
                variables |= {"RANK": str(index), "LOCAL_RANK": str(index), "WORLD_SIZE": str(num_processes)}
                variables |= {"LOCAL_WORLD_SIZE": str(num_processes)}
                variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            ids.append(ask({"start": settings, "environment": variables, "log": str(log)}))
        return RunProcesses(ids, log, ask)

    yield start
    server.stdin.close()
    server.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="session")
def run_to_the_end(start_run, make_settings, tmp_path_factory) -> Callable[..., Path]:
    """Trains in processes of its own and returns the run's folder; the same settings are trained once."""
    finished: dict[str, Path] = {}

    def run(num_processes: int = 1, environment: dict | None = None, **overrides) -> Path:
        key = json.dumps([num_processes, environment, overrides], sort_keys=True)
        if key not in finished:
            finished[key] = tmp_path_factory.mktemp("finished")
            start_run(make_settings(finished[key], **overrides), num_processes, environment).finish()
        return finished[key]

    return run


@pytest.fixture(scope="session")
def faces_with_gaps(tmp_path_factory) -> Path:
    """A folder with the faces of 60 people, a fifth of whose labels are unknown."""
    folder = tmp_path_factory.mktemp("faces-with-gaps")
    random = np.random.default_rng(0)
    for fold in (1, 2, 3):
        faces = load_au_dataset("synthfacs", fold=fold, split="test")
        faces = faces.select([row for row, name in enumerate(faces["subject"]) if name in set(faces["subject"][:320])])
        labels = np.array(faces["labels"])
        labels[random.random(labels.shape) < 0.2] = MISSING_LABEL
        features = faces.features
        faces = faces.remove_columns("labels").add_column("labels", labels.tolist()).select_columns(list(features))
        faces.cast(features).to_parquet(folder / f"synthfacs-fold{fold}.parquet")
    return folder
