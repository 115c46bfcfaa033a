# Copyright 2026 The HiVA-HF Authors. Licensed under the Apache License, Version 2.0.
"""The column layout of all data sets of the package."""

from datasets import Features, Image, List, Value


def au_features(num_aus: int) -> Features:
    """Describes a table of aligned face crops with Action Unit labels.

    Args:
        num_aus: Number of Action Units, the length of `labels` and `intensities`. Both have the same order of AUs,
            ascending unless another one was requested.

    Returns:
        `image` (encoded crop), `labels` (0, 1 or -100 for missing), `intensities` (0 to 5 or
        -100 for missing), `subject`, `task` (recording session or kind of take), `frame` (number within the task),
        `fold` (1 to 3, subject-disjoint; 0 for subjects that no fold tests) and `detector_score` (of the face
        detector, 0 to 1; null if it was not stored).
    """
    if num_aus < 1:
        raise ValueError(f"A data set needs at least one Action Unit, got num_aus={num_aus}.")
    return Features(
        {
            "image": Image(),
            "labels": List(Value("int8"), length=num_aus),
            "intensities": List(Value("int8"), length=num_aus),
            "subject": Value("string"),
            "task": Value("string"),
            "frame": Value("int32"),
            "fold": Value("int8"),
            "detector_score": Value("float32"),
        }
    )
