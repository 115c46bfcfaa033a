"""The paper's network has the paper's size, part by part; nothing is allocated for it."""

import pytest
import torch

from hiva_hf import HiVAConfig, HiVAForAUDetection, HiVAForPreTraining
from hiva_hf.configuration_au_detection import BP4D_LABELS


DISFA_LABELS = ("AU1", "AU2", "AU4", "AU6", "AU9", "AU12", "AU25", "AU26")
GFT_LABELS = ("AU1", "AU2", "AU4", "AU6", "AU10", "AU12", "AU14", "AU15", "AU23", "AU24")
DATA_SETS = {"BP4D": (BP4D_LABELS, 4), "GFT": (GFT_LABELS, 4), "DISFA": (DISFA_LABELS, 3)}

# Of each part: parameters that every network has, and parameters for each AU. With 12 AUs: the table of the paper's
# reading, whose sum the paper prints as 156.08 M (without the layer norms).
SWIN, STEM, BRANCHES = (86_743_224, 0), (525_824, 0), (0, 263_680)
GRAPH, STAGE_1_HEADS = (525_312, 2), (0, 513)
TEXT_LINEAR_AND_CONTEXT, BERT_LAYERS_23_AND_24 = (9_981_952, 0), (25_192_448, 0)
DDCA, CDCA, INTERACTION_NORMS = (0, 1_575_936), (1_575_936, 0), (2 * 1024, 2 * 1024)
FUSION, HEADS = (0, 786_944), (0, 513)
PAPER_BP4D = {
    "swin": 86_743_224,
    "stem": 525_824,
    "branches": 3_164_160,
    "graph": 525_336,
    "stage-1 heads": 6_156,
    "text linear and context": 9_981_952,
    "ddca": 18_911_232,
    "cdca": 1_575_936,
    "interaction norms": 26_624,
    "fusion": 9_443_328,
    "heads": 6_156,
    "bert layers 23 and 24": 25_192_448,
}


def count(*modules) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def build_on_meta(config: HiVAConfig) -> tuple[HiVAForPreTraining, HiVAForAUDetection]:
    with torch.device("meta"):
        return HiVAForPreTraining(config), HiVAForAUDetection(config)


def count_parts(stage1: HiVAForPreTraining, stage2: HiVAForAUDetection) -> dict[str, int]:
    vision, text, interaction = stage2.vision_model, stage2.text_model, stage2.interaction
    norms = [
        direction.norm
        for attention in (interaction.ddca, interaction.cdca)
        for direction in (attention.vision_to_text, attention.text_to_vision)
    ]
    norms_of_ddca, norms_of_cdca = count(*norms[:2]), count(*norms[2:])
    return {
        "swin": count(vision.backbone),
        "stem": count(vision.stem, vision.stem_norm),
        "branches": count(vision.branches, vision.branches_norm),
        "graph": count(stage1.graph),
        "stage-1 heads": count(stage1.graph_classifier),
        "text linear and context": count(text.projection, text.context_layers),
        "ddca": count(interaction.ddca) - norms_of_ddca,
        "cdca": count(interaction.cdca) - norms_of_cdca,
        "interaction norms": norms_of_ddca + norms_of_cdca,
        "fusion": count(interaction.fusion),
        "heads": count(stage2.classifier),
        "bert layers 23 and 24": count(*text.encoder.encoder.layer[22:]),
    }


@pytest.mark.parametrize("data_set", DATA_SETS)
def test_every_part_has_its_size(data_set):
    labels, num_neighbors = DATA_SETS[data_set]
    stage1, stage2 = build_on_meta(HiVAConfig(id2label=dict(enumerate(labels)), num_neighbors=num_neighbors))
    parts = count_parts(stage1, stage2)
    sizes = (SWIN, STEM, BRANCHES, GRAPH, STAGE_1_HEADS, TEXT_LINEAR_AND_CONTEXT)
    sizes += (DDCA, CDCA, INTERACTION_NORMS, FUSION, HEADS, BERT_LAYERS_23_AND_24)
    assert list(parts.values()) == [constant + len(labels) * per_au for constant, per_au in sizes]
    # Nothing is counted twice or left out, but for the frozen part of BERT-large.
    frozen = count(*stage2.text_model.frozen_modules)
    stage_1_only = parts["graph"] + parts["stage-1 heads"]
    assert count(stage2) == sum(parts.values()) - stage_1_only + frozen
    assert count(stage1) == count(stage2.vision_model) + stage_1_only


def test_defaults_are_the_papers_network_for_bp4d():
    stage1, stage2 = build_on_meta(HiVAConfig())
    parts = count_parts(stage1, stage2)
    assert parts == PAPER_BP4D
    assert sum(parts.values()) == 156_102_376
    assert sum(parts.values()) - parts["interaction norms"] == 156_075_752
    assert count(stage2) == 464_470_724
    stage2.drop_text_encoder()
    assert count(stage2) == 120_396_484
    images = torch.empty(2, 3, 224, 224, device="meta")
    global_map, au_maps = stage2.vision_model(images)
    assert global_map.shape == (2, 49, 512)
    assert au_maps.shape == (2, 12, 49, 512)
