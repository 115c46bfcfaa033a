"""The network computes the paper's equations: small cases known by hand, and a second, slow and obvious reading."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import layer_norm

from hiva_hf import HiVAForAUDetection, HiVAForPreTraining
from hiva_hf.facs import get_action_unit
from hiva_hf.modeling_hiva import (
    MISSING_LABEL,
    HiVAAUGraph,
    HiVAContextualDualCrossAttention,
    HiVADisentangledDualCrossAttention,
    HiVAGroupedLinear,
    HiVATextMemory,
    adjacency,
    au_detection_loss,
    description_difference_loss,
)


# Eq. 3, the dynamic graph


def test_graph_keeps_the_most_similar_aus():
    # Inner products of the first row: 1 with itself, 2 with the second, -1 with the third, 0.5 with the fourth.
    features = torch.tensor([[[1.0, 0.0], [2.0, 3.0], [-1.0, 1.0], [0.5, -1.0]]])
    graph = adjacency(features, num_neighbors=3)
    assert graph[0, 0].tolist() == [1, 1, 0, 1]


def test_graph_always_keeps_the_au_itself():
    # The first AU is ten times more similar to the second than to itself.
    features = torch.tensor([[[1.0, 0.0], [10.0, 0.0], [5.0, 0.0]]])
    assert adjacency(features, num_neighbors=1).tolist() == [torch.eye(3).tolist()]
    assert adjacency(features, num_neighbors=2)[0, 0].tolist() == [1, 1, 0]


def test_graph_breaks_ties_by_au_order():
    graph = adjacency(torch.ones(2, 4, 3), num_neighbors=2)
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]]
    assert graph.tolist() == [expected, expected]


@pytest.mark.parametrize("num_neighbors", [1, 2, 5])
def test_graph_has_k_neighbors_for_each_au_and_passes_no_gradient(num_neighbors):
    features = torch.randn(3, 5, 8, requires_grad=True)
    graph = adjacency(features, num_neighbors)
    assert set(graph.flatten().tolist()) <= {0.0, 1.0}
    assert (graph.sum(dim=-1) == num_neighbors).all()
    assert not graph.requires_grad


def test_graph_update_follows_equation_3(make_config):
    graph = HiVAAUGraph(make_config(hidden_size=2, num_neighbors=2, id2label={0: "AU1", 1: "AU2", 2: "AU4"}))
    with torch.no_grad():
        graph.self_projection.weight.copy_(2 * torch.eye(2))
        graph.neighbor_projection.weight.copy_(torch.eye(2))
        graph.self_projection.bias.zero_()
        graph.neighbor_projection.bias.zero_()
    # In evaluation, with its initial statistics, BN_N only divides by sqrt(1 + eps).
    features = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [-1.0, 0.0]]])
    updated, edges = graph.eval()(features)
    # AU1 listens to itself and AU2, AU2 likewise, AU4 to itself and (by the tie rule among -1 and -1) AU1.
    assert edges[0].tolist() == [[1, 1, 0], [1, 1, 0], [1, 0, 1]]
    # U + 2 U + the mean of the neighbours, and nothing below 0.
    expected = [[3 + 1, 0 + 0.5], [3 + 1, 3 + 0.5], [0, 0]]
    torch.testing.assert_close(updated[0], torch.tensor(expected), atol=1e-4, rtol=0)


def test_graph_normalizes_over_the_au_axis(make_config):
    config = make_config()
    graph = HiVAAUGraph(config).train()
    normalized = []
    graph.norm.register_forward_hook(lambda module, inputs, output: normalized.append(output))
    graph(torch.randn(6, config.num_labels, config.hidden_size) * torch.tensor([1, 5, 20, 100.0])[:, None])
    # One mean and one variance for each AU, over batch and features.
    torch.testing.assert_close(normalized[0].mean(dim=(0, 2)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalized[0].var(dim=(0, 2), correction=0), torch.ones(4), atol=1e-3, rtol=0)


# Eq. 1 and Eq. 4, the losses


def test_difference_loss_of_orthogonal_descriptions_is_zero():
    rows = torch.tensor([[3.0, 0, 0, 0], [0, 0.1, 0, 0], [0, 0, -7.0, 0]])
    assert description_difference_loss(rows).item() == 0


def test_difference_loss_of_equal_descriptions_is_the_share_of_pairs():
    # N^2 - N off-diagonal entries of 1 among N^2.
    rows = torch.tensor([[1.0, 2.0]]).expand(5, -1)
    assert description_difference_loss(rows).item() == pytest.approx(20 / 25)


def test_difference_loss_counts_half_similar_descriptions_by_their_squared_cosine():
    # A cosine of 0.5, twice among four entries.
    rows = torch.tensor([[1.0, 0.0], [0.5, math.sqrt(0.75)]])
    assert description_difference_loss(rows).item() == pytest.approx(2 * 0.25 / 4)


def test_au_loss_sums_over_aus_and_averages_over_the_batch():
    # p = 3/4 for each AU: a positive costs log 4/3, a negative log 4.
    logits = torch.full((2, 2), math.log(3.0))
    labels = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    positive, negative = math.log(4 / 3), math.log(4)
    assert au_detection_loss(logits, labels).item() == pytest.approx((3 * positive + negative) / 2)
    assert au_detection_loss(logits, labels, reduction="mean").item() == pytest.approx((3 * positive + negative) / 4)
    weighted = au_detection_loss(logits, labels, label_weights=[0.5, 1.5]).item()
    assert weighted == pytest.approx((0.5 * positive + 1.5 * negative + 0.5 * positive + 1.5 * positive) / 2)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_missing_labels_change_neither_loss_nor_gradient(reduction):
    logits = torch.tensor([[0.3, -2.0, 50.0], [1.0, 4.0, -50.0]], requires_grad=True)
    labels = torch.tensor([[1.0, 0.0, MISSING_LABEL], [0.0, 1.0, MISSING_LABEL]])
    loss = au_detection_loss(logits, labels, [1.0, 2.0, 3.0], reduction)
    loss.backward()
    known = logits[:, :2].detach().requires_grad_()
    expected = au_detection_loss(known, labels[:, :2], [1.0, 2.0], reduction)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item())
    assert torch.equal(logits.grad[:, 2], torch.zeros(2))
    torch.testing.assert_close(logits.grad[:, :2], known.grad)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_a_face_without_any_label_costs_nothing(reduction):
    logits = torch.tensor([[1.0, -1.0], [2.0, 0.0]], requires_grad=True)
    labels = torch.tensor([[MISSING_LABEL, MISSING_LABEL], [1.0, 0.0]])
    loss = au_detection_loss(logits, labels, reduction=reduction)
    loss.backward()
    alone = au_detection_loss(logits[1:], labels[1:], reduction=reduction).item()
    assert loss.item() == pytest.approx(alone / 2)
    assert torch.equal(logits.grad[0], torch.zeros(2))


def test_missing_labels_stop_the_gradient_of_their_head(tiny_detector, faces):
    labels = torch.ones(3, 4)
    labels[:, 2] = MISSING_LABEL
    tiny_detector(faces, labels=labels).loss.backward()
    moved = tiny_detector.classifier.bias.grad.flatten() != 0
    assert moved.tolist() == [True, True, False, True]


# Eq. 5 and Eq. 6, the cross attentions, with identity projections


def with_identity_projections(module: nn.Module) -> nn.Module:
    """Queries, keys and values are the inputs themselves; norms neither scale nor shift."""
    for part in module.modules():
        if isinstance(part, HiVAGroupedLinear):
            part.weight.data.copy_(torch.eye(part.weight.shape[-1]))
            part.bias.data.zero_()
        elif hasattr(part, "eps"):
            part.weight.data.fill_(1)
            part.bias.data.zero_()
    return module.eval()


# With d = 2 the scores are inner products / sqrt(2): these two give e^s = 3 and e^s = 1 against the query (1, 0).
KEY_3 = (math.sqrt(2) * math.log(3), 5.0)
KEY_1 = (0.0, -1.0)


@pytest.fixture
def small_config(make_config):
    def make(num_aus: int = 2, **overrides):
        labels = dict(enumerate(["AU1", "AU2", "AU4"][:num_aus]))
        return make_config(hidden_size=2, num_attention_heads=1, num_neighbors=1, id2label=labels, **overrides)

    return make


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_ddca_text_looks_at_its_own_map(small_config, implementation):
    ddca = with_identity_projections(HiVADisentangledDualCrossAttention(small_config()))
    ddca.text_to_vision.config._attn_implementation = implementation
    # Two AUs with the description (1, 0); the strong token is the first of AU 1's map and the second of AU 2's.
    au_maps = torch.tensor([[[KEY_3, KEY_1], [KEY_1, KEY_3]]])
    memory = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    attended, _ = ddca.text_to_vision(memory[None], au_maps)
    _, weights = ddca.text_to_vision(memory[None], au_maps, output_attentions=True)
    torch.testing.assert_close(weights[0, :, 0], torch.tensor([[0.75, 0.25], [0.25, 0.75]]))
    value = 0.75 * torch.tensor(KEY_3) + 0.25 * torch.tensor(KEY_1)
    expected = layer_norm(memory[0] + value, (2,))
    torch.testing.assert_close(attended[0], expected.expand(2, 1, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_ddca_map_looks_at_its_own_description_without_padding(small_config, implementation):
    ddca = with_identity_projections(HiVADisentangledDualCrossAttention(small_config()))
    ddca.vision_to_text.config._attn_implementation = implementation
    # Three visual tokens, of which each asks alone: the sum to 1 is over the keys of one token, not over the tokens.
    au_maps = torch.tensor([1.0, 0.0]).expand(1, 2, 3, 2)
    padding = (100.0, 100.0)
    memory = torch.tensor([[KEY_3, KEY_1, padding], [KEY_3, padding, padding]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    attended, _ = ddca.vision_to_text(au_maps, memory[None], memory_mask=mask)
    first = 0.75 * torch.tensor(KEY_3) + 0.25 * torch.tensor(KEY_1)
    expected = torch.stack([layer_norm(au_maps[0, 0] + value, (2,)) for value in (first, torch.tensor(KEY_3))])
    torch.testing.assert_close(attended[0], expected, atol=1e-5, rtol=1e-5)


def test_attention_to_words_is_the_mean_over_the_map_without_padding(small_config):
    ddca = with_identity_projections(HiVADisentangledDualCrossAttention(small_config()))
    # The first token of each map asks (1, 0), the second (0, 0), which finds all real keys alike.
    au_maps = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).expand(1, 2, 2, 2)
    padding = (100.0, 100.0)
    memory = torch.tensor([[KEY_3, KEY_1, padding], [KEY_3, padding, padding]])
    text = HiVATextMemory(memory=memory, mask=torch.tensor([[True, True, False], [True, False, False]]))
    _, _, words = ddca(au_maps, text, output_attentions=True)
    torch.testing.assert_close(words[0], torch.tensor([[(0.75 + 0.5) / 2, (0.25 + 0.5) / 2, 0.0], [1.0, 0.0, 0.0]]))
    assert ddca(au_maps, text)[1:] == (None, None)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_cdca_descriptions_look_at_the_whole_face(small_config, implementation):
    cdca = with_identity_projections(HiVAContextualDualCrossAttention(small_config()))
    cdca.text_to_vision.config._attn_implementation = implementation
    face = torch.tensor([[KEY_3, KEY_1]])
    # The second description is orthogonal to the difference of the tokens: it looks at both alike.
    memory = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])
    text = HiVATextMemory(memory=memory, mask=torch.ones(2, 1, dtype=torch.bool))
    features, weights = cdca(face, text, output_attentions=True)
    torch.testing.assert_close(weights[0], torch.tensor([[0.75, 0.25], [0.5, 0.5]]))
    # C_i = mean_T(LN(X_g + Attn(X_g, Z))) + LN(Z_i + Attn(Z_i, X_g)), Eq. 6.
    context = memory[:, 0]
    visual = torch.softmax(face[0] @ context.T / math.sqrt(2), dim=-1) @ context
    pooled = layer_norm(face[0] + visual, (2,)).mean(dim=0)
    expected = pooled + layer_norm(context + weights[0] @ face[0], (2,))
    torch.testing.assert_close(features[0], expected, atol=1e-5, rtol=1e-5)


def test_ddca_adds_both_pooled_directions(small_config):
    ddca = with_identity_projections(HiVADisentangledDualCrossAttention(small_config()))
    for direction in (ddca.vision_to_text, ddca.text_to_vision):
        # Values of zero: attention adds nothing, the residuals remain.
        direction.v_proj.weight.data.zero_()
    au_maps, memory = torch.randn(1, 2, 4, 2), torch.randn(2, 3, 2)
    text = HiVATextMemory(memory=memory, mask=torch.ones(2, 3, dtype=torch.bool))
    features, _, _ = ddca(au_maps, text)
    expected = layer_norm(au_maps[0], (2,)).mean(dim=1) + layer_norm(memory[:, 0], (2,))
    torch.testing.assert_close(features[0], expected)


def test_sentence_level_turns_a_direction_into_a_learned_bias(make_config, tokenizer, faces):
    model = HiVAForAUDetection(make_config(text_level="sentence")).eval()
    model.encode_descriptions(tokenizer)
    assert model.text_memory.shape[1] == 1
    direction = model.interaction.ddca.vision_to_text
    model(faces, labels=torch.ones(3, 4)).loss.backward()
    for projection in (direction.q_proj, direction.k_proj):
        # Zero up to rounding.
        torch.testing.assert_close(projection.weight.grad, torch.zeros(4, 24, 24), atol=1e-12, rtol=0)
    assert direction.v_proj.weight.grad.abs().max() > 1e-6
    with torch.no_grad():
        logits = model(faces).logits
        direction.q_proj.weight.normal_(std=3)
        direction.k_proj.weight.normal_(std=3)
        torch.testing.assert_close(model(faces).logits, logits)
        direction.v_proj.weight.normal_(std=3)
        assert (model(faces).logits - logits).abs().max() > 1e-3


def test_token_level_reads_word_pieces(tiny_detector, faces):
    with torch.no_grad():
        logits = tiny_detector(faces).logits
        tiny_detector.interaction.ddca.vision_to_text.q_proj.weight.normal_(std=3)
        tiny_detector.interaction.ddca.vision_to_text.k_proj.weight.normal_(std=3)
        assert (tiny_detector(faces).logits - logits).abs().max() > 1e-4


# The text side


def test_padding_of_descriptions_changes_nothing(tiny_detector, faces):
    input_ids = torch.randint(1000, 2000, (4, 6))
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 0]])
    longer_ids = torch.cat([input_ids, torch.randint(1000, 2000, (4, 3))], dim=1)
    longer_ids = torch.where(torch.cat([mask, torch.zeros(4, 3)], dim=1) == 1, longer_ids, 7)
    longer_mask = torch.cat([mask, torch.zeros(4, 3, dtype=torch.long)], dim=1)
    with torch.no_grad():
        logits = tiny_detector(faces, input_ids=input_ids, attention_mask=mask).logits
        padded = tiny_detector(faces, input_ids=longer_ids, attention_mask=longer_mask).logits
    torch.testing.assert_close(padded, logits)


def test_text_memory_is_the_papers(tiny_detector, tokenizer):
    """H by the whole BERT and a masked mean, Z by torch's own Transformer encoder."""
    config, text_model = tiny_detector.config, tiny_detector.text_model
    descriptions = [get_action_unit(label).description for label in config.au_labels]
    encoded = tokenizer(descriptions, padding=True, return_tensors="pt")
    with torch.no_grad():
        tokens = text_model.encoder(**encoded).last_hidden_state
        embeddings = torch.stack(
            [row[mask.bool()].mean(dim=0) for row, mask in zip(tokens, encoded["attention_mask"], strict=True)]
        )
        context = text_model.projection(embeddings)[None]
        for layer in text_model.context_layers:
            context = torch_encoder_layer(layer, config)(context)
        text = tiny_detector._encode_text(encoded["input_ids"], encoded["attention_mask"])
    torch.testing.assert_close(text.description_embeddings, embeddings, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(text.memory[:, 0], context[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(text.memory[:, 1:], text_model.projection(tokens), atol=1e-5, rtol=1e-5)
    assert text.mask.tolist() == [[True, *row.bool().tolist()] for row in encoded["attention_mask"]]


def torch_encoder_layer(layer: nn.Module, config) -> nn.TransformerEncoderLayer:
    """A HiVA context layer as torch's own post-norm encoder layer."""
    other = nn.TransformerEncoderLayer(
        config.hidden_size, config.num_attention_heads, config.intermediate_size, batch_first=True
    )
    attention = layer.attention
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    other.self_attn.in_proj_weight.data.copy_(torch.cat([linear.weight for linear in projections]))
    other.self_attn.in_proj_bias.data.copy_(torch.cat([linear.bias for linear in projections]))
    pairs = (
        (other.self_attn.out_proj, attention.o_proj),
        (other.linear1, layer.up_proj),
        (other.linear2, layer.down_proj),
        (other.norm1, layer.attention_norm),
        (other.norm2, layer.output_norm),
    )
    for target, source in pairs:
        target.load_state_dict(source.state_dict())
    return other.eval()


def test_aus_are_a_set_for_the_context_encoder(tiny_detector):
    """No position encoding: the same descriptions in another order give the same rows in that order."""
    states, mask = torch.randn(4, 5, 16), torch.ones(4, 5, dtype=torch.long)
    order = [2, 0, 3, 1]
    with torch.no_grad():
        memory = tiny_detector.text_model(states, mask).memory
        permuted = tiny_detector.text_model(states[order], mask[order]).memory
    torch.testing.assert_close(permuted, memory[order], atol=1e-5, rtol=1e-5)


# The whole network


def test_logits_stand_in_the_order_of_the_labels(tiny_detector, faces):
    tiny_detector.classifier.weight.data.zero_()
    tiny_detector.classifier.bias.data.copy_(torch.arange(4.0).view(4, 1, 1))
    assert tiny_detector.config.au_labels == ["AU1", "AU4", "AU12", "AU25"]
    assert tiny_detector(faces).logits.tolist() == [[0, 1, 2, 3]] * 3


def test_each_au_reads_its_own_description(tiny_detector, tokenizer):
    descriptions = ["one", "two", "three", "four"]
    tiny_detector.encode_descriptions(tokenizer, descriptions)
    before = tiny_detector.text_memory
    tiny_detector.encode_descriptions(tokenizer, ["one", "two", "many", "four"])
    changed = (tiny_detector.text_memory[:, 1:] != before[:, 1:]).flatten(1).any(dim=1)
    assert changed.tolist() == [False, False, True, False]


def batch_norm(values: torch.Tensor, norm: nn.Module, rows: slice) -> torch.Tensor:
    scale = norm.weight[rows] / torch.sqrt(norm.running_var[rows] + norm.eps)
    return (values - norm.running_mean[rows]) * scale + norm.bias[rows]


def attend(direction, group: int, queries: torch.Tensor, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """LN(queries + Attn(queries, keys)) of one group of a HiVACrossAttention, `[tokens, d]` each, and the weights."""

    def project(linear, values):
        return values @ linear.weight[group] + linear.bias[group]

    q, k, v = project(direction.q_proj, queries), project(direction.k_proj, keys), project(direction.v_proj, keys)
    weights = torch.stack([torch.exp(row - row.max()) for row in q @ k.T / math.sqrt(q.shape[-1])])
    weights = weights / weights.sum(dim=1, keepdim=True)
    residual = queries + weights @ v
    centred = residual - residual.mean(dim=1, keepdim=True)
    normalized = centred / torch.sqrt(centred.pow(2).mean(dim=1, keepdim=True) + direction.norm.eps)
    return normalized * direction.norm.weight[group] + direction.norm.bias[group], weights


def reference_forward(
    model: HiVAForAUDetection, face: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits and both maps of one face, AU by AU, from the detector's weights and its cached text memory."""
    vision, config, d = model.vision_model, model.config, model.config.hidden_size
    # DINOv2: one class token, then the patches.
    tokens = vision.backbone(face[None]).last_hidden_state[0, 1:]
    stem = tokens @ vision.stem.weight[:, :, 0, 0].T + vision.stem.bias
    global_map = batch_norm(stem, vision.stem_norm, slice(None)).relu()
    context = model.text_memory[:, 0]
    logits, ddca_maps, cdca_maps = [], [], []
    for au in range(config.num_labels):
        rows = slice(au * d, (au + 1) * d)
        branch = global_map @ vision.branches.weight[rows, :, 0, 0].T + vision.branches.bias[rows]
        au_map = batch_norm(branch, vision.branches_norm, rows).relu()
        memory = model.text_memory[au][model.text_memory_mask[au]]

        ddca, cdca = model.interaction.ddca, model.interaction.cdca
        visual, _ = attend(ddca.vision_to_text, au, au_map, memory)
        textual, ddca_map = attend(ddca.text_to_vision, au, context[au : au + 1], au_map)
        disentangled = visual.mean(dim=0) + textual[0]
        textual, cdca_map = attend(cdca.text_to_vision, 0, context[au : au + 1], global_map)
        visual, _ = attend(cdca.vision_to_text, 0, global_map, context)
        contextual = visual.mean(dim=0) + textual[0]

        parts = torch.cat([au_map.mean(dim=0), disentangled, contextual])
        fused = parts @ model.interaction.fusion.weight[au] + model.interaction.fusion.bias[au, 0]
        logits.append((fused @ model.classifier.weight[au] + model.classifier.bias[au, 0])[0])
        ddca_maps.append(ddca_map[0])
        cdca_maps.append(cdca_map[0])
    return torch.stack(logits), torch.stack(ddca_maps), torch.stack(cdca_maps)


def shake(model: nn.Module):
    """Weights and statistics far from their initial values, where a wrong axis or a missing bias would hide."""
    towers = ("vision_model.backbone", "text_model", "text_memory")
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if tensor.is_floating_point() and not name.startswith(towers):
                tensor.copy_(
                    torch.rand_like(tensor) + 0.5 if "running_var" in name else 0.3 * torch.randn_like(tensor)
                )


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("text_level", ["token", "sentence"])
def test_detector_equals_an_au_by_au_reading_of_the_paper(make_config, tokenizer, faces, text_level, implementation):
    model = HiVAForAUDetection(make_config(text_level=text_level)).eval()
    model.set_attn_implementation(implementation)
    shake(model)
    model.encode_descriptions(tokenizer)
    with torch.no_grad():
        outputs = model(faces)
        maps = model(faces, output_attentions=True)
        for index, face in enumerate(faces):
            logits, ddca_map, cdca_map = reference_forward(model, face)
            torch.testing.assert_close(outputs.logits[index], logits, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(maps.logits[index], logits, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(maps.ddca_attentions[index], ddca_map, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(maps.cdca_attentions[index], cdca_map, atol=1e-5, rtol=1e-4)
    assert outputs.ddca_attentions is None
    assert outputs.cdca_attentions is None


def test_stage_1_heads_read_the_updated_features(tiny_config, faces):
    model = HiVAForPreTraining(tiny_config).eval()
    shake(model)
    with torch.no_grad():
        outputs = model(faces)
        _, au_maps = model.vision_model(faces)
        assert torch.equal(outputs.au_features, au_maps.mean(dim=2))
        assert torch.equal(outputs.adjacency, adjacency(outputs.au_features, tiny_config.num_neighbors))
        updated, _ = model.graph(outputs.au_features)
        heads = model.graph_classifier
        expected = torch.stack(
            [updated[:, au] @ heads.weight[au, :, 0] + heads.bias[au, 0, 0] for au in range(4)], dim=1
        )
    torch.testing.assert_close(outputs.logits, expected)


def test_stage_2_loss_adds_the_weighted_difference_loss(make_config, text_inputs, faces):
    model = HiVAForAUDetection(make_config(difference_loss_weight=10.0, hidden_dropout_prob=0.0)).eval()
    labels = torch.tensor([[1.0, 0, 1, 0], [0, 0, 1, MISSING_LABEL], [1, 1, 1, 1]])
    with torch.no_grad():
        outputs = model(faces, labels=labels, **text_inputs)
        embeddings = model._encode_text(**text_inputs).description_embeddings
    expected = au_detection_loss(outputs.logits, labels) + 10 * description_difference_loss(embeddings)
    torch.testing.assert_close(outputs.loss, expected)
