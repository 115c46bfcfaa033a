import os
import stat

import pytest
from transformers import AutoImageProcessor

from hiva_hf import HiVAForAUDetection, HiVAImageProcessor
from hiva_hf.saved_checkpoints import save_checkpoint


@pytest.mark.skipif(os.name == "nt", reason="files there have no permissions of a group")
@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_those_who_share_the_folder_can_read_all_of_it(mask, tiny_config, tmp_path):
    folder = tmp_path / "detector"
    before = os.umask(mask)
    try:
        save_checkpoint(folder, HiVAForAUDetection(tiny_config), HiVAImageProcessor())
    finally:
        os.umask(before)
    permissions = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert permissions["model.safetensors"] == 0o666 & ~mask
    assert set(permissions.values()) == {0o666 & ~mask}
    assert HiVAForAUDetection.from_pretrained(folder).config.au_labels == tiny_config.au_labels
    assert AutoImageProcessor.from_pretrained(folder).size == HiVAImageProcessor().size
