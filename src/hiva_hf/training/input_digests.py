"""Digests by which a resumed run detects changed inputs: a path stays the same when its content changes."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from datasets import Dataset


# Columns that identify a face in its data set.
_FACE_COLUMNS = ("subject", "task", "frame")


def digest_of_faces(splits: Iterable[Dataset]) -> str:
    """Digest of the identities and labels of the faces, in their order; pictures are not read."""
    digest = hashlib.sha256()
    for faces in splits:
        digest.update(json.dumps([faces[name][:] for name in _FACE_COLUMNS]).encode())
        digest.update(np.asarray(faces.with_format("numpy")["labels"][:]).astype(np.int8).tobytes())
    return digest.hexdigest()


def digest_of_descriptions(descriptions: Mapping[str, Sequence[str]]) -> str:
    """Digest of the descriptions of each AU, in their order."""
    return hashlib.sha256(
        json.dumps({label: list(texts) for label, texts in descriptions.items()}).encode()
    ).hexdigest()
