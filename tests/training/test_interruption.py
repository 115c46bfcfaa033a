import os
import signal
import threading

import pytest

from hiva_hf.training.checkpoints import checkpoint_folder, read_progress
from hiva_hf.training.hiva_runs import HiVATrainingRun
from hiva_hf.training.interruption import StopRequest, TrainingInterrupted
from hiva_hf.training.resuming import resume_command


def test_a_signal_is_remembered_and_ends_nothing():
    before = signal.getsignal(signal.SIGINT)
    with StopRequest() as request:
        assert not request.is_set
        # Another process may be asked to stop.
        assert request.reported_signal == signal.SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert request.is_set
    assert request.signal_number == request.reported_signal == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs the signals of POSIX")
@pytest.mark.parametrize(("before", "is_stopped"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)])
def test_closing_the_terminal_stops_training_except_with_nohup(before, is_stopped):
    previous = signal.signal(signal.SIGHUP, before)
    try:
        with StopRequest() as request:
            os.kill(os.getpid(), signal.SIGHUP)
            assert request.is_set == is_stopped
        assert signal.getsignal(signal.SIGHUP) is before
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_contexts_of_one_request_can_be_nested():
    before = signal.getsignal(signal.SIGTERM)
    request = StopRequest()
    with request, request:
        pass
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_trains_without_handling_signals():
    failures = []

    def enter():
        try:
            with StopRequest():
                pass
        except ValueError as error:
            failures.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert not failures


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_exit_code_is_the_one_that_shells_expect(number, code):
    assert TrainingInterrupted("stopped", number).exit_code == code


@pytest.mark.parametrize(
    ("words", "processes", "expected"),
    [
        ([], "1", "accelerate launch examples/train.py --resume_from_checkpoint true"),
        (
            ["my settings.yaml", "--fold", "2", "--resume_from_checkpoint", "--overwrite-output-dir", "true"],
            "1",
            "accelerate launch examples/train.py 'my settings.yaml' --fold 2 --resume_from_checkpoint true",
        ),
        (
            ["--resume_from_checkpoint=false", "--fold", "2"],
            "2",
            "torchrun --nproc_per_node 2 examples/train.py --fold 2 --resume_from_checkpoint true",
        ),
    ],
)
def test_the_command_to_go_on_is_the_one_that_was_stopped(monkeypatch, words, processes, expected):
    monkeypatch.setattr("sys.argv", ["examples/train.py", *words])
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert resume_command() == expected


def test_the_command_to_go_on_asks_for_the_shards_that_a_configuration_file_asked_for(monkeypatch):
    monkeypatch.setattr("sys.argv", ["examples/train.py", "--fsdp", "true", "--fold", "2"])
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    expected = "torchrun --nproc_per_node 2 examples/train.py --fold 2 --fsdp true --resume_from_checkpoint true"
    assert resume_command(shards=True) == expected


def test_a_request_during_validation_is_taken_there_and_nothing_is_trained_again(make_arguments, tmp_path):
    run = HiVATrainingRun(make_arguments(tmp_path, stage1_epochs=1, checkpointing_steps="2"))
    detector = run.build_detector()

    class LateRequest(StopRequest):
        """As if the signal came with the last step's report still unread."""

        @property
        def is_set(self):
            return bool(list(tmp_path.glob("checkpoints/stage1/step-*"))) or self.signal_number is not None

    run.stop_request = LateRequest()
    with pytest.raises(TrainingInterrupted, match="Stopped in stage1, epoch 1"):
        run.train_stage1(detector)
    folder = checkpoint_folder(tmp_path, "stage1")
    assert max(read_progress(path)["steps_done"] for path in folder.glob("step-*")) == 3
