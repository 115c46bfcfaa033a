"""Run the program of an export: batches of faces in, named tensors out. There is one class for each format."""

import logging
import os
import sysconfig
import threading
from abc import ABC, abstractmethod
from collections import deque
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.export.passes import move_to_device_pass

from ..extras import import_from_extra


logger = logging.getLogger(__name__)

# A large batch is processed by several streams, each on its share of the cores: unlike the threads of one stream, they
# don't wait for each other after every layer. Larger portions were not faster.
NUM_STREAMS, PORTION_SIZE = 2, 4
COMPILED_PORTION_SIZE = 8


class Program(ABC):
    """A program that is ready to run. It is thread-safe: one thread runs it at a time. A copy opens the file again.

    Attributes:
        device: Device on which it runs.
    """

    device = torch.device("cpu")

    def __new__(cls, *arguments: Any):
        program = super().__new__(cls)
        program._opened_with = arguments
        return program

    def __reduce__(self):
        # Neither locks nor the objects of a runtime can be copied or pickled.
        return _open_again, (type(self), self._opened_with, self.device)

    def __init__(self):
        self._lock, self._process = threading.Lock(), os.getpid()

    def __call__(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """`(batch_size, 3, image_size, image_size)` -> the tensors of [`HiVAAUDetectionOutput`] by name."""
        if not len(pixel_values):
            raise ValueError("`pixel_values` is empty: pass at least one face.")
        if self._process != os.getpid():
            # Forked: a thread that held the lock at that moment does not exist here.
            self._lock, self._process = threading.Lock(), os.getpid()
        with self._lock:
            return self._run(pixel_values)

    @abstractmethod
    def _run(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]: ...

    def to(self, device: torch.device) -> bool:
        """Moves it; returns whether it could."""
        return device.type == self.device.type


def _open_again(program_class: type[Program], arguments: tuple[Any, ...], device: torch.device) -> Program:
    program = program_class(*arguments)
    program.to(device)
    return program


@cache
def _core_of(openvino: ModuleType) -> Any:
    """The core of OpenVINO, of which this process has one and never releases it.

    Each core replaces the stack that signals are handled on, and puts back the one before when it is released. If
    several are released in the order in which they were made, or by another thread, that stack is freed already, and
    the next signal that Python handles, such as Ctrl-C, kills the process (OpenVINO 2026.4).
    """
    return openvino.Core()


@cache
def _process_of_openvino() -> int:
    """The process in which OpenVINO ran first, and therefore has its threads; copies of it by fork know it, too."""
    return os.getpid()


class OpenVINOProgram(Program):
    """An OpenVINO model, compiled for this CPU on its first use.

    A fixed batch size is faster than a dynamic one, so there are two: large batches are processed by [`NUM_STREAMS`]
    streams in parallel, in portions of [`PORTION_SIZE`] faces; the remainder, and small batches, face by face on all
    cores. Each is compiled when it is needed.

    Args:
        path: The `.xml` file, with its weights beside it.
        precision: `"bf16"` or `"f32"`, the precision of all computation that isn't int8. CPUs without bfloat16 compute
            in float32.
        num_threads: Largest number of threads; by default OpenVINO's choice, one for each core.
    """

    def __init__(self, path: Path, precision: str, num_threads: int | None = None):
        super().__init__()
        self._core = _core_of(import_from_extra("openvino", "openvino", "Running OpenVINO programs"))
        has_bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bf16" if precision == "bf16" and has_bf16 else "f32"
        self._options = {"INFERENCE_PRECISION_HINT": self.precision}
        if num_threads is not None:
            self._options["INFERENCE_NUM_THREADS"] = num_threads
        self._model = self._core.read_model(path)
        if torch.cpu._is_amx_tile_supported():
            # Imports OpenVINO.
            from .openvino_precision import keep_narrow_layers_in_16_bits

            keep_narrow_layers_in_16_bits(self._model)
        self._names = [output.any_name for output in self._model.outputs]
        self._requests = {}

    def _requests_for(self, shape: torch.Size, num_streams: int) -> list[Any]:
        """One for each stream."""
        if shape not in self._requests:
            model = self._model.clone()
            model.reshape(list(shape))
            hint = "LATENCY" if num_streams == 1 else "THROUGHPUT"
            options = self._options | {"PERFORMANCE_HINT": hint, "NUM_STREAMS": num_streams}
            compiled = self._core.compile_model(model, "CPU", options)
            self._requests[shape] = [compiled.create_infer_request() for _ in range(num_streams)]
        return self._requests[shape]

    def _infer(self, portions: tuple[torch.Tensor, ...], num_streams: int) -> list[list[torch.Tensor]]:
        """The outputs of each portion; all portions have the same size."""
        if not portions:
            return []
        if _process_of_openvino() != os.getpid():
            # It would wait for threads that this process does not have.
            raise RuntimeError(
                "OpenVINO ran before this process was forked, and can't run in it: start processes with "
                '`multiprocessing.get_context("spawn")`, or before the first detection.'
            )
        requests = self._requests_for(portions[0].shape, num_streams)
        outputs, running = [], deque()
        # Requests are used in turn. OpenVINO's own queue calls Python from its threads when they are done: such a call
        # could deadlock with Python if it releases the program at that moment.
        try:
            for number, portion in enumerate(portions):
                if len(running) == num_streams:
                    outputs.append(_finished(running[0]))
                    running.popleft()
                request = requests[number % num_streams]
                request.start_async({0: portion.contiguous().numpy()}, share_inputs=True)
                running.append(request)
            while running:
                outputs.append(_finished(running[0]))
                running.popleft()
        finally:
            # After Ctrl-C, unfinished requests must not run into the next call; finished ones return at once.
            for request in requests:
                request.wait()
        return outputs

    def _run(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        # Only full rounds, since a stream without a portion leaves its cores idle.
        num_streamed = len(pixel_values) - len(pixel_values) % (NUM_STREAMS * PORTION_SIZE)
        streamed, single = pixel_values[:num_streamed], pixel_values[num_streamed:]
        outputs = self._infer(streamed.split(PORTION_SIZE) if num_streamed else (), NUM_STREAMS)
        outputs += self._infer(single.split(1) if len(single) else (), 1)
        return dict(zip(self._names, map(torch.cat, zip(*outputs, strict=True)), strict=True))


def _finished(request: Any) -> list[torch.Tensor]:
    """Waits for an OpenVINO request and returns its outputs."""
    request.wait()
    # Copies: the next portion overwrites the request's own memory.
    return [torch.from_numpy(tensor.data.copy()) for tensor in request.output_tensors]


class OnnxProgram(Program):
    """A model in a session of ONNX Runtime, on the CPU.

    Args:
        path: The `.onnx` file, with its weights beside it.
        num_threads: Largest number of threads; by default one for each core that this process may use.
    """

    def __init__(self, path: Path, num_threads: int | None = None):
        super().__init__()
        runtime = import_from_extra("onnxruntime", "onnx", "Running ONNX programs")
        options = runtime.SessionOptions()
        # By default, ONNX Runtime uses all cores of the machine, even those that this process may not use.
        options.intra_op_num_threads = num_threads or torch.get_num_threads()
        self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._names = [output.name for output in self._session.get_outputs()]

    def _run(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        values = self._session.run(self._names, {self._input: pixel_values.contiguous().numpy()})
        return {name: torch.from_numpy(value) for name, value in zip(self._names, values, strict=True)}


class TorchProgram(Program):
    """A `torch.export` program.

    Args:
        path: The `.pt2` file. Loading it can run any code: never load one from a source that you don't trust.
        dtype: The dtype of its inputs.
    """

    def __init__(self, path: Path, dtype: torch.dtype):
        super().__init__()
        # Loading needs the output class of the program to be registered.
        from .. import modeling_hiva  # noqa: F401

        self._program = torch.export.load(path)
        self._module = self._program.module()
        self._dtype = dtype

    def _run(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            outputs = self._module(pixel_values=pixel_values.to(self.device, self._dtype))
        return {name: value.float() for name, value in outputs.items()}

    def to(self, device: torch.device) -> bool:
        if device != self.device:
            # Moving the module would not change the devices that are hard-coded in the program.
            self._module = move_to_device_pass(self._program, device).module()
            self.device = device
        return True


def check_compiler() -> None:
    """
    Raises:
        OSError: PyTorch finds no C++ compiler or no Python headers.
    """
    from torch._inductor import cpp_builder, exc

    needed = "int8 programs of PyTorch are compiled where they run (OpenVINO's aren't), which needs"
    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler as error:
        raise OSError(f"{needed} a C++ compiler: install one (`apt-get install g++`), or set CXX to yours.") from error
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        raise OSError(f"{needed} the headers of Python: install them (`apt-get install python3-dev`).")


class CompiledTorchProgram(TorchProgram):
    """An int8 `torch.export` program, which is compiled by PyTorch; uncompiled it would be slow.

    A fixed batch size is faster, and compiles faster, than a dynamic one. There are two, which are compiled when they
    are needed: [`COMPILED_PORTION_SIZE`] faces, and single faces for the remainder of a batch. This needs a C++
    compiler. What isn't int8 is computed in bfloat16 on CPUs that have it.

    Args:
        path: See [`TorchProgram`].
    """

    def __init__(self, path: Path):
        # Registers the operators of the program, and lets the compiler lower them to int8 layers: otherwise it would
        # compute the quantized values in bfloat16.
        import_from_extra(
            "torchao.quantization.pt2e.quantizer.x86_inductor_quantizer", "torchao", "Running int8 programs of PyTorch"
        )
        check_compiler()
        super().__init__(path, torch.float32)
        self._compiled = torch.compile(self._module, dynamic=False)
        self._has_bf16 = torch.cpu._is_avx512_bf16_supported()
        self._sizes_seen = set()

    def _run(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        num_portioned = len(pixel_values) - len(pixel_values) % COMPILED_PORTION_SIZE
        portioned, single = pixel_values[:num_portioned], pixel_values[num_portioned:]
        portions = (*portioned.split(COMPILED_PORTION_SIZE), *single.split(1))
        outputs = [self._run_portion(portion) for portion in portions if len(portion)]
        return {name: torch.cat([output[name] for output in outputs]) for name in outputs[0]}

    def _run_portion(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        from torch._inductor import config as inductor_config

        size = len(pixel_values)
        if size not in self._sizes_seen:
            logger.info("Compiling for %d face(s) at a time: a minute or two for a large network ...", size)
        # Otherwise it would be compiled again for tensors of inference mode, and for those that are views.
        with torch.inference_mode(False), torch.no_grad():
            pixel_values = pixel_values.clone(memory_format=torch.contiguous_format)
            with (
                torch.autocast("cpu", torch.bfloat16, enabled=self._has_bf16),
                # Passed to `torch.compile`, `freezing` comes too late for the weights to become constants. Calling the
                # kernels from C++ instead of Python saves a tenth of the time of a single face.
                inductor_config.patch(freezing=True, cpp_wrapper=True),
            ):
                outputs = self._compiled(pixel_values=pixel_values)
        self._sizes_seen.add(size)
        return {name: value.float() for name, value in outputs.items()}

    def to(self, device: torch.device) -> bool:
        return device.type == "cpu"
