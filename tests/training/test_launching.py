"""`examples/train.py` and the configurations beside it, as users start them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from hiva_hf.data.folds import names_of_subjects
from hiva_hf.training.run_folder import RunFolder


EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIGS = sorted((EXAMPLES / "accelerate_configs").glob("*.yaml"))


def launch(*words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "accelerate.commands.launch", *words]
    environment = {name: value for name, value in os.environ.items() if name != "MASTER_ADDR"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=540)


@pytest.mark.slow
def test_two_processes_are_launched_on_cpus_and_one_says_so_loudly(make_settings, tmp_path):
    settings = make_settings(tmp_path / "run", stage1_epochs=1, stage2_epochs=1, per_device_train_batch_size=8)
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    script = [str(EXAMPLES / "train.py"), str(tmp_path / "settings.yaml"), "--seed", "7"]

    alone = launch("--cpu", "--num_processes", "2", *script)
    assert alone.returncode != 0
    assert "asked for several processes, but started one" in alone.stderr
    assert not (tmp_path / "run").exists()

    config = str(EXAMPLES / "accelerate_configs" / "cpu.yaml")
    pair = launch("--config_file", config, "--main_process_port", "0", *script)
    assert pair.returncode == 0, pair.stderr
    assert "2 process(es)" in pair.stdout
    results = RunFolder(tmp_path / "run").results()
    assert results["fold"] == 1
    assert names_of_subjects(results["test_subjects"]) in pair.stdout
    assert {"photo.png", "results.png"} <= {path.name for path in (tmp_path / "run").iterdir()}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_is_one_that_accelerate_knows(path):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert config.num_processes == 2
    expected = {"ddp": "MULTI_GPU", "cpu": "MULTI_GPU", "fsdp2": "FSDP", "deepspeed_zero2": "DEEPSPEED"}
    assert config.distributed_type.value == expected[path.stem]


@pytest.mark.slow
def test_ctrl_c_in_the_script_prints_the_command_that_goes_on(make_settings, tmp_path):
    settings = make_settings(tmp_path / "run", checkpointing_steps="1", stage1_epochs=50)
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    script = str(EXAMPLES / "train.py")
    process = subprocess.Popen(
        [sys.executable, script, str(tmp_path / "settings.yaml"), "--seed", "7"], stdout=subprocess.PIPE, text=True
    )
    states = tmp_path / "run" / "checkpoints" / "stage1"
    while process.poll() is None and not list(states.glob("step-*")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    command = f"accelerate launch {script} {tmp_path / 'settings.yaml'} --seed 7 --resume_from_checkpoint true"
    assert command in output
