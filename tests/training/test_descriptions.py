import pytest
import torch

from hiva_hf import HiVAForAUDetection
from hiva_hf.facs import get_action_unit
from hiva_hf.language.augmentation import GrammarWriter, augment
from hiva_hf.training import descriptions
from hiva_hf.training.descriptions import NUM_GENERATED, DescriptionBank, description_variants


def test_the_bank_holds_every_sentence_of_every_au(tiny_detector, tokenizer):
    bank = DescriptionBank(tiny_detector, tokenizer)
    units = [get_action_unit(label) for label in tiny_detector.config.au_labels]
    assert bank.counts == [1 + len(unit.variants) for unit in units]
    assert bank.hidden_states.shape[0] == sum(bank.counts)


def test_many_sentences_are_encoded_some_at_a_time(tiny_detector, tokenizer, monkeypatch):
    whole = DescriptionBank(tiny_detector, tokenizer)
    encode, sizes = tiny_detector.text_model.encode_frozen, []

    def counted(input_ids, attention_mask):
        sizes.append(len(input_ids))
        return encode(input_ids, attention_mask)

    monkeypatch.setattr(tiny_detector.text_model, "encode_frozen", counted)
    monkeypatch.setattr(descriptions, "_SENTENCES_AT_A_TIME", 32)
    parts = DescriptionBank(tiny_detector, tokenizer)
    assert max(sizes) == 32 and sum(sizes) == sum(whole.counts)
    torch.testing.assert_close(parts.hidden_states, whole.hidden_states)


def test_a_draw_from_the_bank_equals_running_the_text_encoder(tiny_detector, tokenizer, faces):
    tiny_detector.config.variant = "no_augmentation"
    bank = DescriptionBank(tiny_detector, tokenizer)
    drawn = tiny_detector(pixel_values=faces, **bank.draw(torch.Generator()))
    sentences = [get_action_unit(label).description for label in tiny_detector.config.au_labels]
    encoded = tokenizer(sentences, padding=True, return_tensors="pt")
    live = tiny_detector(pixel_values=faces, input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"])
    torch.testing.assert_close(drawn.logits, live.logits)


def test_the_bank_writes_the_text_memory_that_the_model_would(tiny_detector, tokenizer):
    memory, pieces = tiny_detector.text_memory, tiny_detector.config.description_pieces
    tiny_detector.text_memory, tiny_detector.config.description_pieces = None, None
    DescriptionBank(tiny_detector, tokenizer).renew_text_memory(tiny_detector)
    torch.testing.assert_close(tiny_detector.text_memory, memory)
    assert tiny_detector.config.description_pieces == pieces


def test_draws_vary_and_follow_the_generator(tiny_detector, tokenizer):
    bank = DescriptionBank(tiny_detector, tokenizer)
    first = bank.draw(torch.Generator().manual_seed(1))["text_hidden_states"]
    again = bank.draw(torch.Generator().manual_seed(1))["text_hidden_states"]
    other = bank.draw(torch.Generator().manual_seed(2))["text_hidden_states"]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_names_only_reads_the_names(make_config, tokenizer):
    model = HiVAForAUDetection(make_config(variant="names_only"))
    bank = DescriptionBank(model, tokenizer)
    assert bank.counts == [1] * 4
    longest_name = max(len(tokenizer(get_action_unit(label).name)["input_ids"]) for label in model.config.au_labels)
    assert bank.attention_mask.shape[1] == longest_name


def test_written_variants_are_those_of_the_catalogue():
    assert description_variants("written", ["AU12", "AU4"]) == {
        "AU12": get_action_unit(12).variants,
        "AU4": get_action_unit(4).variants,
    }


def test_bank_reads_generated_descriptions(tiny_detector, tokenizer):
    bank = DescriptionBank(tiny_detector, tokenizer, "generated")
    assert bank.counts == [1 + NUM_GENERATED] * 4
    written = DescriptionBank(tiny_detector, tokenizer).canonical()["text_hidden_states"]
    torch.testing.assert_close(bank.canonical()["text_hidden_states"], written)


def test_bank_reads_the_accepted_lines_of_a_review_file(tiny_detector, tokenizer, tmp_path):
    path = tmp_path / "review.jsonl"
    augment(tiny_detector.config.au_labels, GrammarWriter(), path, 3)
    assert DescriptionBank(tiny_detector, tokenizer, str(path)).counts == [4] * 4
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0].replace('"accepted"', '"rejected"'), *lines[1:]]))
    assert DescriptionBank(tiny_detector, tokenizer, str(path)).counts == [3, 4, 4, 4]


def test_ablation_without_augmentation_reads_no_file(tiny_detector, tokenizer):
    tiny_detector.config.variant = "no_augmentation"
    assert DescriptionBank(tiny_detector, tokenizer, "no_such_file").counts == [1] * 4


def test_missing_descriptions_are_named(tmp_path):
    path = tmp_path / "review.jsonl"
    augment([12], GrammarWriter(), path, 1)
    with pytest.raises(ValueError, match="has no accepted description of AU4, AU6, which are trained on. Add some: "):
        description_variants(str(path), ["AU4", "AU6", "AU12"])
    with pytest.raises(
        FileNotFoundError, match="'sentences', which is neither `written` nor `generated` nor an existing file"
    ):
        description_variants("sentences", ["AU4"])
