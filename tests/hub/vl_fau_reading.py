"""All that a VL-FAU gives for a photo; `publisher.py` asks it of the run, `reader.py` of the Hub double."""

from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, pipeline


def read_vl_fau(name_or_path: str, photo: str, **options: Any) -> dict[str, Any]:
    """By the Auto classes, and by the pipeline with its explanations."""
    processor = AutoImageProcessor.from_pretrained(name_or_path, **options)
    model = AutoModel.from_pretrained(name_or_path, **options).eval()
    tokenizer = AutoTokenizer.from_pretrained(name_or_path, **options)
    inputs = processor(images=Image.open(photo), return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits
    detector = pipeline("au-detection", model=name_or_path, explain=True, **options)
    return {
        "logits": logits.tolist(),
        "sentences": tokenizer.batch_decode(model.generate(**inputs)),
        "face_sentence": tokenizer.batch_decode(model.generate(**inputs, level="global")),
        "faces": detector(photo, detect_faces=False),
    }
