# Copyright 2026 The hiva-hf authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Figures of results: faces with their AUs, attention maps, AU graphs, timelines, text similarity, annotated frames.

Figures are matplotlib's, in the `theme` "light", "dark" or "print", and are saved to `path` as PNG, SVG or PDF.
`annotate_frame` draws into the pixels of a video frame and needs no matplotlib.
"""

import importlib
from typing import TYPE_CHECKING

from ..extras import install_command


if TYPE_CHECKING:
    from .attention import draw_attention
    from .faces import draw_faces
    from .graph import draw_au_graph
    from .overlay import annotate_frame
    from .results import draw_results
    from .similarity import draw_similarity
    from .timeline import draw_timeline

_MODULES = {
    "annotate_frame": "overlay",
    "draw_attention": "attention",
    "draw_au_graph": "graph",
    "draw_faces": "faces",
    "draw_results": "results",
    "draw_similarity": "similarity",
    "draw_timeline": "timeline",
}

__all__ = [
    "annotate_frame",
    "draw_attention",
    "draw_au_graph",
    "draw_faces",
    "draw_results",
    "draw_similarity",
    "draw_timeline",
]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise ImportError(f"{name} needs matplotlib: {install_command('faces')}.") from error
