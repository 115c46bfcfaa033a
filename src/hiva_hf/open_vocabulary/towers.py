"""The frozen towers of a text-conditioned head, whose features of faces and sentences never change."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch.nn.functional import normalize
from tqdm.auto import tqdm
from transformers import AutoModel, AutoTokenizer

from ..image_processing_hiva import HiVAImageProcessor
from ..training.towers import packaged_text_tower, packaged_vision_tower
from .head import TextConditionedAUConfig


class FrozenTowers:
    """A vision tower that gives patch tokens and a text tower that gives one vector for each sentence.

    Neither has seen a label of an Action Unit: the packaged ones are DINOv2 ViT-S/14, trained on pictures without
    labels, and the sentence encoder MiniLM.

    Args:
        vision_model_name_or_path: A vision transformer whose output is a class token, then patch tokens; None is the
            packaged DINOv2.
        text_model_name_or_path: A text encoder with its tokenizer; None is the packaged MiniLM.
        vision_layer: Layer of the vision tower whose output is used, counted from 1. For the packaged tower, a middle
            layer distinguishes labelled AUs better than the last.
        image_size: Side of the square that a face is resized to, in pixels.
        device: Device to compute on.

    Raises:
        ImportError: If a packaged tower is needed and its package is not installed.
    """

    def __init__(
        self,
        vision_model_name_or_path: str | Path | None = None,
        text_model_name_or_path: str | Path | None = None,
        vision_layer: int = TextConditionedAUConfig.vision_layer,
        image_size: int = TextConditionedAUConfig.image_size,
        device: str | torch.device = "cpu",
    ):
        text = text_model_name_or_path or packaged_text_tower()
        self.tokenizer = AutoTokenizer.from_pretrained(text)
        self.text_model = AutoModel.from_pretrained(text).to(device).eval()
        self.vision_model = AutoModel.from_pretrained(vision_model_name_or_path or packaged_vision_tower())
        self.vision_model.to(device).eval()
        self.vision_layer = min(vision_layer, self.vision_model.config.num_hidden_layers)
        side = {"height": image_size, "width": image_size}
        self.image_processor = HiVAImageProcessor(size=side, crop_size=side)
        self.device = torch.device(device)

    @torch.no_grad()
    def patch_tokens(self, faces: Sequence[Image.Image], batch_size: int = 32, progress: str = "") -> torch.Tensor:
        """Patch tokens of aligned face crops.

        Args:
            faces: n face crops.
            batch_size: Number of faces per batch.
            progress: Name of a progress bar; empty for none.

        Returns:
            `[n, num_patches, hidden_size]`, float16, on the CPU.
        """
        tokens = []
        for start in tqdm(range(0, len(faces), batch_size), desc=progress, leave=False, disable=not progress):
            pictures = [face.convert("RGB") for face in faces[start : start + batch_size]]
            pixels = self.image_processor(pictures, return_tensors="pt")["pixel_values"].to(self.device)
            with torch.autocast(self.device.type, torch.bfloat16):
                layers = self.vision_model(pixels, output_hidden_states=True).hidden_states
            tokens.append(layers[self.vision_layer][:, 1:].to("cpu", torch.float16))
        return torch.cat(tokens)

    @torch.no_grad()
    def sentence_embeddings(self, sentences: Sequence[str]) -> torch.Tensor:
        """Embeddings of sentences `[n, hidden_size]`, on the CPU: normalised means over word pieces.

        Raises:
            ValueError: If a sentence is empty.
        """
        if not sentences or not all(sentence.strip() for sentence in sentences):
            raise ValueError(f"Expected sentences that describe a movement, got {list(sentences)}.")
        inputs = self.tokenizer(list(sentences), padding=True, truncation=True, return_tensors="pt").to(self.device)
        words = self.text_model(**inputs).last_hidden_state.float()
        mask = inputs["attention_mask"].unsqueeze(-1)
        return normalize((words * mask).sum(dim=1) / mask.sum(dim=1), dim=-1).cpu()
