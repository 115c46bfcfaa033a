"""Running the program of an export: batches of faces in, named tensors out. One class for each format."""

import logging
import sysconfig
import threading
from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path
from typing import Any

import torch
from torch.export.passes import move_to_device_pass

from ..extras import import_from_extra


logger = logging.getLogger(__name__)

# A large batch is read by several streams, each on its share of the cores: they don't wait for each other after every
# layer, as the threads of one stream do. More faces in a portion were not faster.
NUM_STREAMS, PORTION_SIZE = 2, 4
COMPILED_PORTION_SIZE = 8


class Program(ABC):
    """A program that is ready to run. Threads may share it: one runs it at a time. A copy opens the file again.

    Attributes:
        device: Where it runs.
    """

    device = torch.device("cpu")

    def __new__(cls, *arguments: Any):
        program = super().__new__(cls)
        program._opened_with = arguments
        return program

    def __reduce__(self):
        # Neither locks nor what a runtime made of the file can be copied, nor sent to another process.
        return _open_again, (type(self), self._opened_with, self.device)

    def __init__(self):
        self._lock = threading.Lock()

    def __call__(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        """`(batch_size, 3, image_size, image_size)` -> the tensors of [`HiVAAUDetectionOutput`] by name."""
        if not len(pixel_values):
            raise ValueError("`pixel_values` holds no face.")
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


class OpenVINOProgram(Program):
    """An OpenVINO model, compiled for this CPU when the first faces come.

    Code for a fixed number of faces is faster than code for any number. So there are two: large batches are read by
    [`NUM_STREAMS`] streams at a time, in portions of [`PORTION_SIZE`] faces; what is left of them, and small batches,
    face by face on all cores. Each is compiled when it is needed.

    Args:
        path: The `.xml`; its weights lie beside it.
        precision: `"bf16"` or `"f32"`, what is computed in where the program itself isn't int8. CPUs without bfloat16
            compute in float32.
        num_threads: Threads at most; by default OpenVINO's choice, one for each core.
    """

    def __init__(self, path: Path, precision: str, num_threads: int | None = None):
        super().__init__()
        self._core = import_from_extra("openvino", "openvino", "Running OpenVINO programs").Core()
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
        """The outputs of each portion; all are of one size."""
        if not portions:
            return []
        requests = self._requests_for(portions[0].shape, num_streams)
        outputs, running = [], deque()
        # Each takes its turn. Not OpenVINO's own queue, which has its threads call Python when they are done: one that
        # was about to could not end while Python, waiting for that, let go of the program.
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
            # What Ctrl-C leaves must not run on while the next faces come; the others have nothing to wait for.
            for request in requests:
                request.wait()
        return outputs

    def _run(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        # Streams that have nothing to read leave their cores idle.
        num_streamed = len(pixel_values) - len(pixel_values) % (NUM_STREAMS * PORTION_SIZE)
        streamed, single = pixel_values[:num_streamed], pixel_values[num_streamed:]
        outputs = self._infer(streamed.split(PORTION_SIZE) if num_streamed else (), NUM_STREAMS)
        outputs += self._infer(single.split(1) if len(single) else (), 1)
        return dict(zip(self._names, map(torch.cat, zip(*outputs, strict=True)), strict=True))


def _finished(request: Any) -> list[torch.Tensor]:
    """The outputs of a request of OpenVINO, when they are there."""
    request.wait()
    # Copies: the next portion overwrites the request's own memory.
    return [torch.from_numpy(tensor.data.copy()) for tensor in request.output_tensors]


class OnnxProgram(Program):
    """A model in a session of ONNX Runtime, on the CPU.

    Args:
        path: The `.onnx`; its weights lie beside it.
        num_threads: Threads at most; by default one for each core that this process may use.
    """

    def __init__(self, path: Path, num_threads: int | None = None):
        super().__init__()
        runtime = import_from_extra("onnxruntime", "onnx", "Running ONNX programs")
        options = runtime.SessionOptions()
        # By itself it takes all cores of the machine, allowed or not.
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
        path: The `.pt2`. Opening it runs code that it holds: never open one of strangers.
        dtype: Of its inputs.
    """

    def __init__(self, path: Path, dtype: torch.dtype):
        super().__init__()
        # Its output class, by which the program was written, has to be known when it is read.
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
            # Moving the module would leave the devices that are written into the program.
            self._module = move_to_device_pass(self._program, device).module()
            self.device = device
        return True


def check_compiler() -> None:
    """
    Raises:
        OSError: PyTorch finds no C++ compiler, or no headers of Python.
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
    """A `torch.export` program of int8, which PyTorch's compiler makes fast; uncompiled it would be slow.

    Code for a fixed number of faces is faster, and sooner made, than code for any number. So there are two, which are
    compiled when they are needed: for [`COMPILED_PORTION_SIZE`] faces, and for single ones, which what is left of a
    batch is read as. That takes a C++ compiler. What isn't int8 is computed in bfloat16 on CPUs that have it.

    Args:
        path: See [`TorchProgram`].
    """

    def __init__(self, path: Path):
        # Brings the operators by which the program was written, and teaches the compiler to make int8 layers of them:
        # without, it computes in bfloat16 what was rounded to 8 bits.
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
        # Faces of inference mode, and others, would be compiled for twice; likewise what is a part of other memory.
        with torch.inference_mode(False), torch.no_grad():
            pixel_values = pixel_values.clone(memory_format=torch.contiguous_format)
            with (
                torch.autocast("cpu", torch.bfloat16, enabled=self._has_bf16),
                # As an option of `torch.compile` it comes too late for the weights to be taken for constants. Kernels
                # that C++ calls instead of Python save a tenth of the time of a single face.
                inductor_config.patch(freezing=True, cpp_wrapper=True),
            ):
                outputs = self._compiled(pixel_values=pixel_values)
        self._sizes_seen.add(size)
        return {name: value.float() for name, value in outputs.items()}

    def to(self, device: torch.device) -> bool:
        return device.type == "cpu"
