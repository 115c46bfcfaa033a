import pytest
from huggingface_hub import HfApi

from hiva_hf.data.hub_requests import hub_requests


@hub_requests()
def ask_nobody(endpoint: str) -> None:
    HfApi(endpoint=endpoint, token="none").create_repo("org/name", exist_ok=True)


@pytest.fixture
def online(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def test_a_hub_that_does_not_answer_is_an_os_error(online):
    with pytest.raises(ConnectionError, match="The Hub can't be reached .* again"):
        ask_nobody("http://127.0.0.1:9")


def test_offline_mode_is_an_os_error_as_it_is():
    with pytest.raises(OSError, match="offline mode"):
        ask_nobody("http://127.0.0.1:9")
