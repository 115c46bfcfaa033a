"""Convert a research checkpoint to a folder that `from_pretrained` loads."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import AutoTokenizer
from transformers.utils import CONFIG_NAME

from .. import __version__
from ..atomic_files import fill_folder
from ..configuration_hiva import HiVAConfig
from ..image_processing_hiva import HiVAImageProcessor
from ..modeling_hiva import HiVAForAUDetection, HiVAGroupedLayerNorm, HiVAGroupedLinear
from ..saved_checkpoints import save_checkpoint
from .key_mapping import Assignment, ConversionError, Piece, assign_keys, describe_pieces, read_rules
from .research_checkpoint import read_research_checkpoint


RECORD_FILE = "conversion.json"
# Batch norms of old checkpoints don't count their batches, which is needed only in training without momentum.
_OPTIONAL_SUFFIX = ".num_batches_tracked"
_NUM_LISTED = 20


def convert_checkpoint(
    checkpoint: str | Path,
    output_dir: str | Path,
    config: HiVAConfig | None = None,
    mapping: str | Path | None = None,
    tokenizer: str | None = None,
    drop_text_encoder: bool = False,
) -> Assignment:
    """Converts a research checkpoint to safetensors, with config, image processor and a record of all keys.

    Args:
        checkpoint: A state dict that `torch.save` wrote. Files that contain more than tensors are rejected.
        output_dir: Folder for the result; it must be empty or not exist.
        config: Configuration of the network; by default the paper's for BP4D.
        mapping: YAML or JSON file with rules that come before those of the package, see `key_mapping.yaml`.
        tokenizer: Folder or Hub id of the text encoder's tokenizer; encodes the descriptions, without which the model
            can't detect AUs.
        drop_text_encoder: Whether to omit the text encoder from the result; needs `tokenizer`.

    Returns:
        Where all keys went.

    Raises:
        FileNotFoundError: if a file does not exist.
        ConversionError: if the file can't be read, or its keys, shapes or dtypes don't fit. Nothing is written
            then.
        FileExistsError: if something was written to `output_dir` in the meantime.
    """
    checkpoint, output_dir = Path(checkpoint), Path(os.path.abspath(output_dir))
    if drop_text_encoder and tokenizer is None:
        raise ConversionError("Without a text encoder, a model needs encoded descriptions: pass `tokenizer`, too.")
    if output_dir.exists() and not (output_dir.is_dir() and not any(output_dir.iterdir())):
        raise ConversionError(f"{output_dir} is not empty. Pass a new folder.")
    config = HiVAConfig() if config is None else config
    tensors = read_research_checkpoint(checkpoint)
    assignment = assign_keys(tensors, read_rules(None if mapping is None else Path(mapping)))
    state_dict = build_state_dict(tensors, assignment, config)
    model = HiVAForAUDetection.from_pretrained(None, config=config, state_dict=state_dict)
    if tokenizer is not None:
        model.encode_descriptions(AutoTokenizer.from_pretrained(tokenizer))
    if drop_text_encoder:
        model.drop_text_encoder()

    def write(folder: Path):
        save_checkpoint(folder, model, HiVAImageProcessor.for_image_size(config.image_size))
        record = json.dumps(_record(checkpoint, assignment), indent=2)
        (folder / RECORD_FILE).write_text(record + "\n", encoding="utf-8")

    fill_folder(output_dir, write, CONFIG_NAME)
    return assignment


def build_state_dict(
    tensors: Mapping[str, torch.Tensor], assignment: Assignment, config: HiVAConfig
) -> dict[str, torch.Tensor]:
    """The weights with the keys and shapes of HiVAForAUDetection.

    Raises:
        ConversionError: if keys are unknown or missing, or shapes don't fit. The message names all keys, or the two
            whose shapes differ.
    """
    with torch.device("meta"):
        model = HiVAForAUDetection(config)
    expected = model.state_dict()
    _check_keys(assignment, expected)
    modules = dict(model.named_modules())
    return {
        target: _assemble(target, expected[target], modules[target.rpartition(".")[0]], pieces, tensors, config)
        for target, pieces in assignment.pieces.items()
    }


def _check_keys(assignment: Assignment, expected: Mapping[str, torch.Tensor]):
    unknown = {target: pieces for target, pieces in assignment.pieces.items() if target not in expected}
    missing = [key for key in expected if key not in assignment.pieces and not key.endswith(_OPTIONAL_SUFFIX)]
    problems = []
    if assignment.unmatched:
        problems.append(f"no rule matches these keys of the checkpoint:{_listed(assignment.unmatched)}")
    if unknown:
        lines = [f"{pieces[0].key} -> {target}" for target, pieces in unknown.items()]
        problems.append(f"these would go to keys that the network does not have:{_listed(lines)}")
    if missing:
        problems.append(f"nothing goes to these keys of the network:{_listed(missing)}")
    if problems:
        num_matched = len(assignment.pieces) - len(unknown)
        raise ConversionError(
            f"The checkpoint does not fit: {num_matched} of {len(expected)} keys of the network have their weights "
            f"({len(assignment.ignored)} of the checkpoint are ignored on purpose), but\n"
            + "\n".join(f"- {problem}" for problem in problems)
            + "\nIf the network differs, pass its configuration (`--config`); if its parts have other names, pass "
            "rules for them (`--mapping`)."
        )


def _listed(lines: Sequence[str]) -> str:
    more = len(lines) - _NUM_LISTED
    return "".join(f"\n    {line}" for line in lines[:_NUM_LISTED]) + (f"\n    and {more} more" if more > 0 else "")


def _assemble(
    target: str,
    expected: torch.Tensor,
    module: nn.Module,
    pieces: Sequence[Piece],
    tensors: Mapping[str, torch.Tensor],
    config: HiVAConfig,
) -> torch.Tensor:
    """Assembles a target tensor from its pieces."""
    pieces = sorted(pieces, key=lambda piece: piece.au or 0)
    positions = [piece.au for piece in pieces]
    shape = tuple(expected.shape)
    is_per_au = positions != [None]
    if is_per_au and positions != list(range(config.num_labels)):
        raise ConversionError(
            f"{target} is made from one tensor for each of {config.num_labels} AUs, numbered from 0, but the "
            f"checkpoint has the numbers {positions} ({pieces[0].key}, ...)."
        )
    if is_per_au and shape:
        shape = (shape[0] // config.num_labels, *shape[1:])
    parts = []
    for piece in pieces:
        tensor = tensors[piece.key]
        _check_kind(piece.key, tensor, target, expected)
        part = _adapt(_take_part(tensor, piece), module)
        # Before anything is copied: a tensor of a few bytes may claim to be of any size.
        if tuple(part.shape) != shape:
            raise ConversionError(
                f"{piece.key} has the shape {list(tensor.shape)}, which does not fit {target} of the shape "
                f"{list(expected.shape)}. If this is the checkpoint of another network, pass its `--config`."
            )
        parts.append(part.to(expected.dtype))
    # The number of batches that a batch norm has seen is the same for all AUs.
    return torch.cat(parts).contiguous() if shape else torch.stack(parts).amax()


def _check_kind(key: str, tensor: torch.Tensor, target: str, expected: torch.Tensor):
    is_plain = tensor.layout == torch.strided and not (tensor.is_meta or tensor.is_quantized)
    if not is_plain or (expected.is_floating_point() and not tensor.is_floating_point()):
        raise ConversionError(
            f"{key} is a tensor of {tensor.dtype}{'' if is_plain else ' that is sparse, quantized or empty (meta)'}, "
            f"which can't become {target} of {expected.dtype}. Save plain floating-point weights, where it was made."
        )


def _take_part(tensor: torch.Tensor, piece: Piece) -> torch.Tensor:
    if piece.num_parts == 1 or tensor.ndim == 0 or tensor.shape[0] % piece.num_parts:
        return tensor
    return tensor.chunk(piece.num_parts)[piece.part]


def _adapt(tensor: torch.Tensor, module: nn.Module) -> torch.Tensor:
    """A view of a tensor in the shape that a grouped layer or a convolution needs; others stay as they are."""
    if isinstance(module, HiVAGroupedLinear) and tensor.ndim == 2:
        return tensor.T[None]
    if isinstance(module, (HiVAGroupedLinear, HiVAGroupedLayerNorm)) and tensor.ndim == 1:
        return tensor[None, None]
    if isinstance(module, nn.Conv2d) and tensor.ndim == 2:
        return tensor[:, :, None, None]
    return tensor


def _record(checkpoint: Path, assignment: Assignment) -> dict:
    with checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "hiva_hf": __version__,
        "source": checkpoint.name,
        "source_sha256": digest,
        "weights": describe_pieces(assignment.pieces),
        "left_out": sorted(assignment.ignored),
    }
