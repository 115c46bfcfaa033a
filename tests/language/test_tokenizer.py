"""The tokenizer of state sentences: every sentence comes back as it was, also after saving."""

import pytest
from transformers import AutoTokenizer

from hiva_hf.facs import ACTION_UNITS
from hiva_hf.facs_states import face_sentence, state_sentences
from hiva_hf.language.tokenizer import SPECIAL_TOKENS


SENTENCES = [
    *(text for unit in ACTION_UNITS for present in (True, False) for text in state_sentences(unit, present)),
    *(face_sentence(aus) for aus in ((), (12,), (12, 6), (1, 2, 4, 5), (25, 9, 17), ACTION_UNITS)),
]


def decode(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=True)


def test_every_sentence_comes_back_without_an_unknown_word(state_tokenizer):
    for text in SENTENCES:
        ids = state_tokenizer(text)["input_ids"]
        assert state_tokenizer.unk_token_id not in ids, text
        assert (ids[0], ids[-1]) == (state_tokenizer.bos_token_id, state_tokenizer.eos_token_id)
        assert decode(state_tokenizer, ids) == text


def test_special_tokens_are_those_of_the_configuration(state_tokenizer, make_vl_fau_config):
    config = make_vl_fau_config().text_config
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        assert getattr(state_tokenizer, name) == getattr(config, name)


def test_the_longest_sentence_fits_the_decoder(state_tokenizer, make_vl_fau_config):
    longest = max(len(state_tokenizer(text)["input_ids"]) for text in SENTENCES)
    assert longest <= make_vl_fau_config().text_config.max_position_embeddings


def test_padding_stands_behind_the_sentence(state_tokenizer):
    batch = state_tokenizer(["Neutral face.", SENTENCES[0]], padding=True)
    assert batch["input_ids"][0][-1] == state_tokenizer.pad_token_id
    assert decode(state_tokenizer, batch["input_ids"][0]) == "Neutral face."


def test_other_words_are_unknown_not_dropped(state_tokenizer):
    assert state_tokenizer.unk_token_id in state_tokenizer("The zebra is raised.")["input_ids"]


def test_words_are_numbered_alike_in_every_process(state_tokenizer):
    """Sets of words have an order of their own in each."""
    vocabulary = state_tokenizer.get_vocab()
    words = sorted(vocabulary, key=vocabulary.get)[len(SPECIAL_TOKENS) :]
    assert words == sorted(words)


@pytest.mark.parametrize("with_model", [False, True])
def test_auto_tokenizer_finds_it_beside_a_model(state_tokenizer, tiny_vl_fau_dir, tmp_path, with_model):
    folder = tiny_vl_fau_dir
    if not with_model:
        folder = tmp_path
        state_tokenizer.save_pretrained(folder)
    loaded = AutoTokenizer.from_pretrained(folder)
    assert loaded.get_vocab() == state_tokenizer.get_vocab()
    for text in SENTENCES[::7]:
        assert loaded(text)["input_ids"] == state_tokenizer(text)["input_ids"]
        assert decode(loaded, loaded(text)["input_ids"]) == text
