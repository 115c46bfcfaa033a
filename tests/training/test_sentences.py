"""The sentences that VL-FAU learns from: what the labels say, the same for the same seed."""

import pytest
import torch

from hiva_hf.facs_states import face_sentence, state_sentences
from hiva_hf.image_processing_hiva import HiVAImageProcessor
from hiva_hf.training.augmentation import AugmentedFaces, FaceAugmentation
from hiva_hf.training.sentences import DescribedFaces, StateSentences


AUS = ["AU1", "AU4", "AU12", "AU25"]


@pytest.fixture(scope="module")
def sentences(state_tokenizer):
    return StateSentences(state_tokenizer, AUS)


def read(tokenizer, ids: torch.Tensor) -> str:
    return tokenizer.decode(ids[ids != -100], skip_special_tokens=True)


def test_sentences_say_what_the_labels_say(sentences, state_tokenizer):
    labels = torch.tensor([1.0, 0, 1, 0])
    for seed in range(10):
        drawn = sentences.draw(labels, seed)
        for au, state, ids in zip(AUS, labels, drawn["local_labels"], strict=True):
            assert read(state_tokenizer, ids) in state_sentences(au, bool(state))
            assert ids[0] == state_tokenizer.bos_token_id
            assert ids[ids != -100][-1] == state_tokenizer.eos_token_id
        assert read(state_tokenizer, drawn["global_labels"]) == face_sentence(["AU1", "AU12"])


def test_draws_depend_on_the_seed_and_reach_every_written_sentence(sentences, state_tokenizer):
    labels = torch.tensor([1.0, 0, 1, 0])
    assert torch.equal(sentences.draw(labels, 7)["local_labels"], sentences.draw(labels, 7)["local_labels"])
    seen = {read(state_tokenizer, sentences.draw(labels, seed)["local_labels"][0]) for seed in range(100)}
    assert seen == set(state_sentences("AU1", True))


def test_all_faces_have_equally_long_rows(sentences):
    shapes = {
        tuple(tensor.shape for tensor in sentences.draw(torch.tensor(labels), 0).values())
        for labels in ([0.0, 0, 0, 0], [1.0, 1, 1, 1], [1.0, -100, 0, 1])
    }
    assert len(shapes) == 1


def test_a_face_with_an_unknown_au_gets_no_sentence_about_the_whole(sentences):
    drawn = sentences.draw(torch.tensor([1.0, -100, 0, 1]), 0)
    assert (drawn["global_labels"] == -100).all()
    assert (drawn["local_labels"][0] != -100).any()


@pytest.mark.parametrize(
    ("settings", "left"), [({"writes_local": False}, "global"), ({"writes_global": False}, "local")]
)
def test_variants_get_the_sentences_that_they_write(state_tokenizer, settings, left):
    drawn = StateSentences(state_tokenizer, AUS, **settings).draw(torch.tensor([1.0, 0, 0, 1]), 0)
    assert drawn.keys() == {f"{left}_labels"}


def test_described_faces_are_the_augmented_ones_with_sentences(write_prepared, sentences, tmp_path):
    from hiva_hf.data import load_au_dataset

    write_prepared(tmp_path, "custom", {"anna": 1, "ben": 2, "carl": 3}, aus=(1, 4, 12, 25))
    split = load_au_dataset("custom", data_dir=tmp_path, fold=1, split="train")
    processor = HiVAImageProcessor.for_image_size(14)

    augmentation = FaceAugmentation(processor)
    described = DescribedFaces(split, augmentation, 3, sentences)
    plain = AugmentedFaces(split, augmentation, 3)
    described.set_epoch(2)
    plain.set_epoch(2)
    assert len(described) == len(plain) > 1
    for index in range(len(plain)):
        item = described[index]
        assert torch.equal(item["pixel_values"], plain[index]["pixel_values"])
        assert item.keys() == {"pixel_values", "labels", "local_labels", "global_labels"}
    first = torch.stack([described[index]["local_labels"] for index in range(len(plain))])
    described.set_epoch(3)
    assert not torch.equal(first, torch.stack([described[index]["local_labels"] for index in range(len(plain))]))
