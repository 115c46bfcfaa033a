# Copyright 2026 The HiVA-HF Authors. Licensed under the Apache License, Version 2.0.
"""SynthFACS: rendered faces whose Action Units are known exactly.

The package contains a sample of it; `python -m hiva_hf.synthesis --help` shows how to render more.
"""

from .recipes import RECIPES, SYNTHFACS_AUS


__all__ = ["RECIPES", "SYNTHFACS_AUS"]
