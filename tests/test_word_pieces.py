import numpy as np
import pytest

from hiva_hf.facs import ACTION_UNITS
from hiva_hf.word_pieces import mean_word_weights, name_word_pieces


def test_pieces_stand_in_the_order_of_the_tokens(tokenizer):
    sentences = ["The inner brows rise, wrinkling it.", "Crow's feet."]
    lines = name_word_pieces(tokenizer, sentences)
    assert lines == ["[CLS] The inner brows rise , wr ##ink ##ling it . [SEP]", "[CLS] Crow ' s feet . [SEP]"]
    assert [len(line.split()) for line in lines] == [len(tokenizer(sentence)["input_ids"]) for sentence in sentences]


def test_every_sentence_of_the_catalogue_has_a_piece_for_each_token(tokenizer):
    sentences = [unit.description for unit in ACTION_UNITS.values()]
    lines = name_word_pieces(tokenizer, sentences)
    assert [len(line.split()) for line in lines] == [len(ids) for ids in tokenizer(sentences)["input_ids"]]


def test_words_of_a_byte_level_tokenizer_have_no_marks(tmp_path):
    """RoBERTa marks the beginning of words, BERT their continuation."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizerFast

    trained = ByteLevelBPETokenizer(add_prefix_space=True)
    trained.train_from_iterator(
        ["the brows rise"] * 9, vocab_size=280, special_tokens=["<s>", "<pad>", "</s>", "<unk>"]
    )
    trained.save_model(str(tmp_path))
    tokenizer = RobertaTokenizerFast.from_pretrained(tmp_path)
    (line,) = name_word_pieces(tokenizer, ["The brows rise."])
    assert len(line.split()) == len(tokenizer("The brows rise.")["input_ids"])
    assert line.split()[0] == "<s>"
    assert {word for word, _ in mean_word_weights(line, np.ones(99))} == {"brows", "rise"}


def test_a_word_weighs_the_mean_over_its_pieces_and_occurrences():
    pieces = "[CLS] The brow ##s and Brows , eyes . [SEP]"
    weights = np.array([0.3, 0.2, 0.12, 0.06, 0.1, 0.03, 0.1, 0.15, 0.01, 0.02])
    words = mean_word_weights(pieces, weights)
    assert [word for word, _ in words] == ["eyes", "brows"]
    assert [weight for _, weight in words] == pytest.approx([0.15, 0.07])


def test_padding_weighs_nothing():
    assert mean_word_weights("[CLS] brows [SEP]", np.array([0.1, 0.5, 0.1, 0.3])) == [("brows", 0.5)]
