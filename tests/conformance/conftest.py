"""Markers of transformers' own tests, which pytest would refuse as unknown."""

MARKERS = "accelerate_tests flash_attn_test flash_attn_3_test flash_attn_4_test generate order torch_compile_test"


def pytest_configure(config):
    for name in MARKERS.split():
        config.addinivalue_line("markers", f"{name}: set by transformers' own tests")
