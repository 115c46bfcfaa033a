"""Models write candidates, validators judge them, and a review file keeps them all."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from hiva_hf.facs import get_action_unit
from hiva_hf.file_locks import locked_output
from hiva_hf.language.augmentation import (
    PROMPT_VERSION,
    SENTENCES_PER_REQUEST,
    EndpointWriter,
    GrammarWriter,
    LocalModelWriter,
    augment,
    candidates_in,
    prompt_for,
)
from hiva_hf.language.endpoint import ChatEndpoint
from hiva_hf.language.review import accepted_descriptions, read_review


REPLY = """\
1. Swept back along a slant, the lip corners rise toward the ears.
- "The corners of the mouth climb up and outward, and the cheeks grow round."

The person smiles, and the lip corners go up in a curve.
* AU12 pulls the lip corners up toward the cheekbones.
"""


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory):
    """A causal language model with random weights, and a tokenizer of words."""
    folder = tmp_path_factory.mktemp("llm") / "tiny-llama"
    words = prompt_for(get_action_unit(12)).lower().split() + [".", "\n", "the", "lips", "<unk>", "</s>"]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>").save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        eos_token_id=vocabulary["</s>"],
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_prompt_tells_what_is_asked_for_and_has_no_number_of_the_au():
    prompt = prompt_for(get_action_unit(12))
    assert "pulls the lip corners obliquely back and up" in prompt
    assert get_action_unit(12).description in prompt
    assert "zygomaticus major" in prompt
    assert "AU12" not in prompt
    assert "$" not in prompt
    assert prompt_for(get_action_unit(12), 1) != prompt


def test_every_au_has_a_prompt():
    for number in (1, 6, 26, 45):
        assert get_action_unit(number).action in prompt_for(get_action_unit(number))


def test_marks_of_lists_and_quotes_are_taken_off():
    assert candidates_in(REPLY) == [
        "Swept back along a slant, the lip corners rise toward the ears.",
        "The corners of the mouth climb up and outward, and the cheeks grow round.",
        "The person smiles, and the lip corners go up in a curve.",
        "AU12 pulls the lip corners up toward the cheekbones.",
    ]
    assert candidates_in("(2) First.\n3) Second.\n\u2022 Third-rate words.") == [
        "First.",
        "Second.",
        "Third-rate words.",
    ]


def test_a_review_file_has_one_writer(tmp_path):
    with (
        locked_output(tmp_path / "review.jsonl"),
        pytest.raises(BlockingIOError, match="review.jsonl is being written by another process"),
    ):
        augment(["AU4"], GrammarWriter(), tmp_path / "review.jsonl", 3)


def test_grammar_fills_a_review_file(tmp_path):
    path = tmp_path / "review.jsonl"
    counts = augment(["AU12", 4], GrammarWriter(), path, 15)
    assert counts == {"AU12": 15, "AU4": 15}
    assert {row.source for row in read_review(path)} == {"grammar"}
    assert all(len(set(texts)) == 15 for texts in accepted_descriptions(path).values())


def test_nonsense_of_a_local_model_is_rejected_with_reasons(tiny_llama, tmp_path):
    path = tmp_path / "review.jsonl"
    writer = LocalModelWriter(str(tiny_llama))
    counts = augment([12], writer, path, 2, max_requests=2)
    rows = read_review(path)
    assert counts == {"AU12": 0}
    assert rows
    assert all(row.status == "rejected" and row.reasons for row in rows)
    assert {(row.source, row.prompt_version) for row in rows} == {("tiny-llama", PROMPT_VERSION)}


def test_local_model_is_asked_by_its_chat_template(tiny_llama):
    writer = LocalModelWriter(str(tiny_llama))
    plain = writer._encode("The lips .")["input_ids"].shape[1]
    writer.tokenizer.chat_template = "{% for message in messages %}the {{ message['content'] }} lips{% endfor %}"
    assert writer._encode("The lips .")["input_ids"].shape[1] == plain + 2


def test_a_local_model_that_reads_too_little_is_refused(tiny_llama):
    writer = LocalModelWriter(str(tiny_llama))
    writer.model.config.max_position_embeddings = 256
    with pytest.raises(ValueError, match="context length of tiny-llama is 256 tokens"):
        writer.write(get_action_unit(12), 0)


def test_same_seed_makes_a_local_model_write_the_same(tiny_llama):
    unit = get_action_unit(12)
    assert LocalModelWriter(str(tiny_llama)).write(unit, 0) == LocalModelWriter(str(tiny_llama)).write(unit, 0)
    assert LocalModelWriter(str(tiny_llama)).write(unit, 0) != LocalModelWriter(str(tiny_llama)).write(unit, 1)


# Over HTTP


def make_writer(server, **options):
    return EndpointWriter(ChatEndpoint(server.url, "small-model", first_wait=0.01, **options))


def test_endpoint_writes_and_validators_judge(chat_server, tmp_path):
    chat_server.reply = REPLY
    path = tmp_path / "review.jsonl"
    assert augment([12], make_writer(chat_server), path, 5, max_requests=3) == {"AU12": 2}
    rows = read_review(path)
    # The same reply three times is one reply.
    assert [row.status for row in rows] == ["accepted", "accepted", "rejected", "rejected"]
    assert len(chat_server.requests) == 3
    assert "has words for emotions: smiles" in rows[2].reasons
    assert "has a number of an Action Unit or of something else: 'AU12'" in rows[3].reasons
    assert all(row.source == "small-model" for row in rows)


def test_requests_end_when_there_are_enough(chat_server, tmp_path):
    chat_server.reply = REPLY
    assert augment([12], make_writer(chat_server), tmp_path / "review.jsonl", 1) == {"AU12": 1}
    assert len(chat_server.requests) == 1
    assert len(read_review(tmp_path / "review.jsonl")) == 1


def test_repetition_of_a_written_description_is_rejected(chat_server, tmp_path):
    chat_server.reply = get_action_unit(12).variants[0].upper()
    augment([12], make_writer(chat_server), tmp_path / "review.jsonl", 1, max_requests=1)
    [row] = read_review(tmp_path / "review.jsonl")
    assert any(reason.startswith("repeats a description of AU12") for reason in row.reasons)


def test_rejected_by_a_person_is_not_offered_again(chat_server, tmp_path):
    path = tmp_path / "review.jsonl"
    chat_server.reply = REPLY
    augment([12], make_writer(chat_server), path, 2)
    path.write_text(path.read_text().replace('"accepted"', '"rejected"'))
    assert augment([12], make_writer(chat_server), path, 2, max_requests=1) == {"AU12": 0}


def test_interrupted_call_loses_nothing_and_goes_on(chat_server, tmp_path):
    path = tmp_path / "review.jsonl"
    chat_server.reply = REPLY
    good = (200, {"choices": [{"message": {"content": REPLY}}]}, {})
    chat_server.script = [good, (429, "busy", {}), (500, "broken", {}), (200, "no JSON", {})]
    with pytest.raises(
        OSError, match="failed 3 times; the last time it gave an answer that is not in the OpenAI protocol"
    ):
        augment([12, 6], make_writer(chat_server, max_tries=3), path, 4)
    kept = path.read_bytes()
    assert len(read_review(path)) == 4
    # A crash in the middle of a line.
    path.write_bytes(kept + b'{"au": "AU12", "te')
    chat_server.reply = "\n".join(get_new_sentences())
    assert augment([12], make_writer(chat_server), path, 4) == {"AU12": 4}
    assert path.read_bytes().startswith(kept)
    assert len(read_review(path)) == 6


def get_new_sentences() -> list[str]:
    return [
        "Tugged aslant, both mouth corners ride up against the bulging cheeks.",
        "A hammock hangs where the lips were level, its ends lifted up to the cheekbones.",
    ]


def test_interruption_by_the_user_keeps_every_row(tmp_path):
    path = tmp_path / "review.jsonl"

    class Impatient(GrammarWriter):
        def write(self, unit, request):
            if request == 2:
                raise KeyboardInterrupt
            return super().write(unit, request)

    with pytest.raises(KeyboardInterrupt):
        augment([12], Impatient(), path, 50)
    assert len(read_review(path)) == 2 * SENTENCES_PER_REQUEST
    assert augment([12], GrammarWriter(), path, 30) == {"AU12": 30}
    assert len({row.text for row in read_review(path)}) == 30


def test_unknown_au_is_refused_before_anything_is_asked(chat_server, tmp_path):
    with pytest.raises(ValueError, match="not the label of a known Action Unit"):
        augment(["AU12", "AU3"], make_writer(chat_server), tmp_path / "review.jsonl", 1)
    assert chat_server.requests == []
    assert not (tmp_path / "review.jsonl").exists()


class FewAtATime:
    """Has four new sentences for each request."""

    source, prompt_version = "few", "1"

    def __init__(self):
        self.asked = []

    def write(self, unit, request):
        self.asked.append(request)
        return [f"The lips move in way {request} of kind {kind}." for kind in "abcd"]


def test_no_request_is_made_twice(tmp_path):
    writer = FewAtATime()
    for _ in range(2):
        augment([12], writer, tmp_path / "review.jsonl", 1000, max_requests=3)
    assert writer.asked == [0, 1, 2, 3, 4, 5]
