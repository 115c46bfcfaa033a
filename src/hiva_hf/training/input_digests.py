"""Whether a run that goes on still reads what it began with: a path stays the same when what lies there changes."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from datasets import Dataset


# What tells a face from all others of its data set.
_FACE_COLUMNS = ("subject", "task", "frame")


def digest_of_faces(splits: Iterable[Dataset]) -> str:
    """Of whose faces there are and how they are labelled, in their order; the pictures are not looked at."""
    digest = hashlib.sha256()
    for faces in splits:
        digest.update(json.dumps([faces[name][:] for name in _FACE_COLUMNS]).encode())
        digest.update(np.asarray(faces.with_format("numpy")["labels"][:]).astype(np.int8).tobytes())
    return digest.hexdigest()


def digest_of_descriptions(descriptions: Mapping[str, Sequence[str]]) -> str:
    """Of the descriptions of each AU, in their order."""
    return hashlib.sha256(
        json.dumps({label: list(texts) for label, texts in descriptions.items()}).encode()
    ).hexdigest()
