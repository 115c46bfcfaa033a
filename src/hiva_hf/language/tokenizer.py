"""The tokenizer of the sentences that VL-FAU writes: one token for each word."""

from collections.abc import Iterator
from itertools import combinations

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from ..facs import ACTION_UNITS
from ..facs_states import face_sentence, state_sentences


# Their ids are their positions in the vocabulary, which are the defaults of `VLFAUTextConfig`.
SPECIAL_TOKENS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def build_state_tokenizer() -> PreTrainedTokenizerFast:
    """Builds a tokenizer for all sentences of `facs_states`, about any Action Unit: it is the same for all data sets.

    Each word with the space before it is a token, and so is each punctuation mark; it is case-sensitive. A decoded
    sentence is therefore identical to the one that was encoded. Encoding adds `bos_token` and `eos_token`.

    Returns:
        The tokenizer. `save_pretrained` puts it beside a model, where `AutoTokenizer` finds it.
    """
    pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation("isolated")])
    words = {word for text in _sentences() for word, _ in pre_tokenizer.pre_tokenize_str(text)}
    vocabulary = {token: index for index, token in enumerate([*SPECIAL_TOKENS.values(), *sorted(words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL_TOKENS["unk_token"]))
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS.values()])
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.Metaspace()
    bos, eos = SPECIAL_TOKENS["bos_token"], SPECIAL_TOKENS["eos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}", special_tokens=[(token, vocabulary[token]) for token in (bos, eos)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, padding_side="right", **SPECIAL_TOKENS
    )


def _sentences() -> Iterator[str]:
    """Sentences that contain every word in every position where it can occur."""
    units = [unit.label for unit in ACTION_UNITS.values()]
    for unit in units:
        for present in (True, False):
            yield from state_sentences(unit, present)
    yield face_sentence([])
    for unit in units:
        # First, and alone.
        yield face_sentence([unit])
    for pair in combinations(units, 2):
        # Last, and after a comma with any third one.
        yield face_sentence(pair)
    yield face_sentence(units)
