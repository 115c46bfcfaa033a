"""Questions reach a real server over HTTP; what passes is asked again, and what does not is told."""

import logging

import pytest

from hiva_hf.language.endpoint import ChatEndpoint


KEY = "sk-very-secret"


def make_endpoint(server, **options):
    return ChatEndpoint(server.url, **{"model": "named", "first_wait": 0.01, **options})


def test_question_is_asked_in_the_protocol(chat_server):
    chat_server.reply = "An answer."
    assert make_endpoint(chat_server, api_key=KEY).ask("A question?", seed=3) == "An answer."
    [(path, authorization, body)] = chat_server.requests
    assert path == "/v1/chat/completions"
    assert authorization == f"Bearer {KEY}"
    assert body["model"] == "named"
    assert body["messages"] == [{"role": "user", "content": "A question?"}]
    assert body["seed"] == 3


def test_without_a_key_none_is_sent(chat_server):
    make_endpoint(chat_server).ask("A question?")
    assert chat_server.requests[0][1] is None


def test_first_model_that_is_listed_is_taken(chat_server):
    assert make_endpoint(chat_server, model=None).model == "small-model"
    assert chat_server.requests[0][0] == "/v1/models"


@pytest.mark.parametrize(
    "failure",
    [
        (429, {"error": "slow down"}, {"Retry-After": "0.01"}),
        (429, {"error": "slow down"}, {}),
        (500, "broken", {}),
        (503, "", {"Retry-After": "soon"}),
        (200, "no JSON", {}),
        (200, {"choices": []}, {}),
        (200, {"choices": [{"message": {"content": None}}]}, {}),
        (200, "[" * 100_000, {}),
        (429, {"error": "slow down"}, {"Retry-After": "nan"}),
        # Less comes than was promised.
        (500, "broken off", {"Content-Length": "1000"}),
    ],
)
def test_passing_failure_is_asked_again(chat_server, failure):
    chat_server.reply = "An answer."
    chat_server.script = [failure, failure]
    assert make_endpoint(chat_server).ask("A question?") == "An answer."
    assert len(chat_server.requests) == 3


def test_lasting_failure_is_told_after_the_last_try(chat_server):
    chat_server.script = [(500, "out of memory", {})] * 3
    with pytest.raises(
        OSError, match=r"failed 3 times; the last time it answered 500 \(out of memory\).*again to continue"
    ):
        make_endpoint(chat_server, max_tries=3).ask("A question?")


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ((401, {"error": "who?"}, {}), "answered 401 .*Set the environment variable"),
        ((404, "nothing here", {}), r"answered 404 \(nothing here\).*usually ends in /v1"),
        ((400, "too long", {}), r"answered 400 \(too long\)"),
        ((307, "", {"Location": "http://127.0.0.1:9/v1"}), "answered 307 .*Redirects are not followed"),
    ],
)
def test_refusal_is_told_at_once(chat_server, failure, message):
    chat_server.script = [failure]
    with pytest.raises(OSError, match=message):
        make_endpoint(chat_server).ask("A question?")
    assert len(chat_server.requests) == 1


def test_key_is_in_no_error_and_no_log(chat_server, caplog):
    chat_server.script = [(500, f"bad key {KEY}", {}), (401, f"bad key {KEY}", {})]
    with caplog.at_level(logging.DEBUG), pytest.raises(OSError, match=r"bad key \*\*\*") as caught:
        make_endpoint(chat_server, api_key=KEY).ask("A question?")
    assert KEY not in str(caught.value)
    assert "bad key ***" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("written", [r"sk-abc\/d+ef", r"sk-abc/d\u002Bef", r"sk-abc\u002fd\u002bef"])
def test_key_is_not_shown_as_json_may_write_it_either(chat_server, written):
    chat_server.script = [(401, f'{{"error": "bad key {written}"}}', {})]
    with pytest.raises(OSError, match=r"bad key \*\*\*") as caught:
        make_endpoint(chat_server, api_key="sk-abc/d+ef").ask("A question?")
    assert "abc" not in str(caught.value)


def test_half_a_sign_in_an_answer_becomes_text(chat_server):
    """As where the answer was cut in an emoji."""
    chat_server.script = [(200, r'{"choices": [{"message": {"content": "Done \ud83d"}}]}', {})]
    assert make_endpoint(chat_server).ask("A question?") == "Done ?"


def test_key_is_sent_without_the_line_end_of_its_file(chat_server):
    make_endpoint(chat_server, api_key=f"{KEY}\r\n").ask("A question?")
    assert chat_server.requests[0][1] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", [f"“{KEY}”", f"{KEY}\n{KEY}"])
def test_key_that_no_request_can_carry_is_refused_without_showing_it(chat_server, key):
    with pytest.raises(ValueError, match="The API key contains characters") as caught:
        make_endpoint(chat_server, api_key=key)
    assert KEY not in str(caught.value)


def test_server_that_is_not_there_is_told(chat_server):
    endpoint = make_endpoint(chat_server, max_tries=2)
    endpoint.url = "http://127.0.0.1:9/v1"
    with pytest.raises(OSError, match="failed 2 times; the last time it could not be reached"):
        endpoint.ask("A question?")


def test_silent_server_is_given_up(chat_server):
    silent = chat_server.socket.__class__()
    silent.bind(("127.0.0.1", 0))
    silent.listen()
    try:
        endpoint = make_endpoint(chat_server, max_tries=1, timeout=0.2)
        endpoint.url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(OSError, match="could not be reached .*timed out"):
            endpoint.ask("A question?")
    finally:
        silent.close()
