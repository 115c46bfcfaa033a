"""The web page: photos, webcam and videos in a browser, on this computer or as a Space of the Hub.

```python
from hiva_hf.web import build_demo, launch_options

build_demo().launch(**launch_options())
```
"""

import importlib


# Imported on first use: Gradio takes a second.
_LAZY_ATTRIBUTES = {"build_demo": "page", "launch_options": "serving"}

__all__ = sorted(_LAZY_ATTRIBUTES)


def __getattr__(name: str):
    if name not in _LAZY_ATTRIBUTES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY_ATTRIBUTES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
