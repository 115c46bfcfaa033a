"""Score any sentences on faces."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from ..saved_checkpoints import save_checkpoint
from .head import TextConditionedAUHead
from .towers import FrozenTowers


class OpenVocabularyDetector:
    """A text-conditioned head with its towers.

    ```python
    detector = OpenVocabularyDetector.from_pretrained("new-au/head")
    detector([face], ["The lip corners are pulled up.", "The nostrils are flared."])  # [1, 2]
    ```

    Args:
        head: A trained head.
        towers: The towers that it was trained on.
    """

    def __init__(self, head: TextConditionedAUHead, towers: FrozenTowers):
        self.head = head.eval()
        self.towers = towers

    @classmethod
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "cpu") -> "OpenVocabularyDetector":
        """Loads a head that `save_pretrained` wrote, and its towers.

        Args:
            folder: A folder or a Hub repository.
            device: Device to compute on.
        """
        head = TextConditionedAUHead.from_pretrained(folder).to(device)
        config = head.config
        towers = FrozenTowers(
            config.vision_model_name_or_path,
            config.text_model_name_or_path,
            config.vision_layer,
            config.image_size,
            device,
        )
        return cls(head, towers)

    def save_pretrained(self, folder: str | Path):
        """Saves the head; its configuration names the towers, which are not copied."""
        save_checkpoint(Path(folder), self.head)

    @torch.no_grad()
    def __call__(self, faces: Image.Image | Sequence[Image.Image], sentences: str | Sequence[str]) -> torch.Tensor:
        """Scores sentences on faces.

        Args:
            faces: One aligned face crop, or n of them (`hiva_hf.face_alignment` makes them from photos).
            sentences: One description of a movement, or S of them.

        Returns:
            `[n, S]`, between 0 and 1. A higher score means that the movement is more likely on that face than on
            another. It is no calibrated probability: for a sentence that the head was not trained on, there is no
            threshold between present and absent.

        Raises:
            ValueError: If there is no face or no sentence.
        """
        faces = [faces] if isinstance(faces, Image.Image) else list(faces)
        sentences = [sentences] if isinstance(sentences, str) else list(sentences)
        if not faces:
            raise ValueError("There is no face to score: pass at least one face crop.")
        texts = self.towers.sentence_embeddings(sentences).to(self.head.device)
        tokens = self.towers.patch_tokens(faces).to(self.head.device, torch.float32)
        return self.head(tokens, texts).logits.sigmoid().cpu()
