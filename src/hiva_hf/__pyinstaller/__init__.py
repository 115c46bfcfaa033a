"""What PyInstaller must know to put the package into an application; the entry point `hook-dirs` leads here."""

from pathlib import Path


def get_hook_dirs() -> list[str]:
    """The folder of the hook, `hook-hiva_hf.py`."""
    return [str(Path(__file__).parent)]
