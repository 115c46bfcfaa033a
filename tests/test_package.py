import importlib

import pytest

import hiva_hf


def test_every_public_name_is_there_and_listed():
    assert sorted(hiva_hf.__all__) == sorted(hiva_hf._MODULES)
    assert set(hiva_hf.__all__) <= set(dir(hiva_hf))
    for name in hiva_hf.__all__:
        value = getattr(hiva_hf, name)
        assert value is getattr(importlib.import_module(f"hiva_hf.{hiva_hf._MODULES[name]}"), name)


def test_sub_modules_are_attributes():
    assert hiva_hf.facs.get_action_unit(12).name == "Lip Corner Puller"
    assert hiva_hf.data.AUFaces is importlib.import_module("hiva_hf.data.builders").AUFaces


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'hiva_hf' has no attribute 'HiVAForAuDetection'"):
        _ = hiva_hf.HiVAForAuDetection
