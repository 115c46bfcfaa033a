"""Starts training runs as processes of their own that can be killed, without importing torch anew for each.

Reads one JSON request a line and answers it with a line: `{"start": settings, "environment": {...}, "log": path}`
answers the process id, `{"wait": process_id}` the exit code (negative for a signal that ended it).
"""

import json
import os
import sys
import traceback

import torch
from transformers import BertModel, Dinov2Model  # noqa: F401 (else every process would import them anew)

from hiva_hf.training.arguments import AUTrainingArguments
from hiva_hf.training.hiva_runs import HiVATrainingRun
from hiva_hf.training.interruption import TrainingInterrupted


def train(request: dict) -> int:
    os.environ.update(request["environment"])
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    try:
        HiVATrainingRun(AUTrainingArguments(**request["start"])).run()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    except TrainingInterrupted as interruption:
        sys.stderr.write(f"{interruption}\n")
        return interruption.exit_code
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def answer(number: int):
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def main():
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer(os.waitstatus_to_exitcode(status))
            continue
        process = os.fork()
        if process == 0:
            code = train(request)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        answer(process)


if __name__ == "__main__":
    main()
