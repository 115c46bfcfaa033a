"""The networks at home in transformers: what its own tests of a model leave out."""

import copy

import pytest
import torch
from accelerate import cpu_offload
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from torch.overrides import TorchFunctionMode
from transformers import AutoModel, AutoModelForImageClassification, BertConfig, BertModel
from transformers.utils import logging

from hiva_hf import HiVAConfig, HiVAForAUDetection, HiVAForPreTraining
from hiva_hf.modeling_hiva import MISSING_LABEL, HiVAPointwiseConv2d


LABELS = torch.tensor([[1.0, 0, 1, 0], [0, 0, 1, MISSING_LABEL], [1, 1, 1, 1]])


def loss_and_gradients(model, *args, **kwargs):
    model.zero_grad()
    torch.manual_seed(0)
    loss = model(*args, **kwargs).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


# Batches


@pytest.mark.parametrize("model_class", [HiVAForAUDetection, HiVAForPreTraining])
def test_logits_of_a_face_do_not_depend_on_its_batch_mates(tiny_detector, tiny_config, faces, model_class):
    model = tiny_detector if model_class is HiVAForAUDetection else HiVAForPreTraining(tiny_config).eval()
    with torch.no_grad():
        together = model(faces).logits
        alone = torch.cat([model(face[None]).logits for face in faces])
        reversed_order = model(faces.flip(0)).logits.flip(0)
        other_mates = model(torch.cat([faces[:1], 100 * torch.randn_like(faces)])).logits[:1]
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together, reversed_order, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together[:1], other_mates, atol=1e-6, rtol=1e-5)


def test_gradient_of_a_face_reaches_no_other_face(tiny_detector, faces):
    faces.requires_grad_()
    tiny_detector(faces).logits[1].sum().backward()
    reached = faces.grad.flatten(1).abs().amax(dim=1) > 0
    assert reached.tolist() == [False, True, False]


def test_missing_labels_leave_loss_and_gradients_as_if_the_au_were_not_asked(tiny_detector, faces):
    """Whatever the network says about an unknown label, nothing moves."""
    labels = torch.ones(3, 4)
    labels[:, 2] = MISSING_LABEL
    loss, gradients = loss_and_gradients(tiny_detector, faces, labels=labels)
    tiny_detector.classifier.bias.data[2] += 5
    other_loss, other_gradients = loss_and_gradients(tiny_detector, faces, labels=labels)
    assert torch.equal(loss, other_loss)
    assert gradients.keys() == other_gradients.keys()
    assert all(torch.equal(gradients[name], other_gradients[name]) for name in gradients)


# Attention implementations and number types


class CountedCalls(TorchFunctionMode):
    """Counts calls of one of torch's functions."""

    def __init__(self, counted):
        super().__init__()
        self.counted, self.count = counted, 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.count += function is self.counted
        return function(*args, **(kwargs or {}))


def count_fused_attentions(model, *args, **kwargs) -> int:
    with torch.no_grad(), CountedCalls(torch.nn.functional.scaled_dot_product_attention) as calls:
        model(*args, **kwargs)
    return calls.count


def test_attention_is_fused_unless_eager_is_asked_for(tiny_detector, faces, text_inputs):
    # 2 layers of DINOv2 and the 4 directions of DDCA and CDCA; text inputs add 4 layers of BERT and 3 of the context.
    assert count_fused_attentions(tiny_detector, faces) == 2 + 4
    assert count_fused_attentions(tiny_detector, faces, **text_inputs) == 2 + 4 + 4 + 3
    # Maps and words need the weights of three directions, which fused attention doesn't return.
    assert count_fused_attentions(tiny_detector, faces, output_attentions=True) == 2 + 1
    tiny_detector.set_attn_implementation("eager")
    assert count_fused_attentions(tiny_detector, faces, **text_inputs) == 0


def test_timm_swin_attention_is_fused_unless_it_learns_on_a_processor(make_config, swin_config):
    """There PyTorch has no kernel for biases with gradients, and would compute in fp32 under autocast."""
    model = HiVAForPreTraining(make_config(backbone_config=swin_config))
    images = torch.randn(2, 3, 56, 56)
    assert count_fused_attentions(model, images) == 0
    assert count_fused_attentions(model.eval(), images) == 4
    assert count_fused_attentions(model.train(), images) == 0
    assert count_fused_attentions(model.to("meta"), images.to("meta")) == 4


def test_timm_swin_masks_without_subnormal_numbers(make_config, swin_config, tmp_path):
    """What fp32 products are slow with; timm's own mask has them, and is made once more by `from_pretrained`."""
    model = HiVAForPreTraining(make_config(backbone_config=swin_config))
    model.save_pretrained(tmp_path)
    for network in (model, HiVAForPreTraining.from_pretrained(tmp_path)):
        masks = [mask for name, mask in network.named_buffers() if name.endswith("attn_mask")]
        assert masks
        for mask in masks:
            weights = mask.softmax(dim=-1)
            assert (weights == 0).any()
            assert weights[weights > 0].min() >= torch.finfo(torch.float32).tiny


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_pointwise_convolution_is_one(memory_format):
    pointwise = HiVAPointwiseConv2d(6, 10)
    convolution = torch.nn.Conv2d(6, 10, kernel_size=1)
    convolution.load_state_dict(pointwise.state_dict())
    feature_map = torch.randn(2, 6, 3, 5).to(memory_format=memory_format).requires_grad_()
    found = []
    for layer in (pointwise, convolution):
        projected = layer(feature_map)
        found.append((projected, *torch.autograd.grad(projected.square().sum(), [feature_map, *layer.parameters()])))
    torch.testing.assert_close(*found)


def test_only_the_backbone_convolves(make_config, swin_config):
    """`torch.compile` lays out as images whatever leads to a convolution."""
    model = HiVAForPreTraining(make_config(backbone_config=swin_config)).eval()
    with torch.no_grad(), CountedCalls(torch.conv2d) as calls:
        model(torch.randn(1, 3, 56, 56))
    assert calls.count == 1


def test_sdpa_equals_eager(tiny_detector, faces, text_inputs):
    tiny_detector.set_attn_implementation("sdpa")
    with torch.no_grad():
        fused = tiny_detector(faces).logits, tiny_detector(faces, **text_inputs).logits
        tiny_detector.set_attn_implementation("eager")
        eager = tiny_detector(faces).logits, tiny_detector(faces, **text_inputs).logits
    torch.testing.assert_close(fused, eager, atol=1e-5, rtol=1e-5)


def test_sdpa_gradients_equal_eager_gradients(make_config, faces, text_inputs):
    model = HiVAForAUDetection(make_config(hidden_dropout_prob=0.0)).eval()
    loss, gradients = loss_and_gradients(model, faces, labels=LABELS, **text_inputs)
    model.set_attn_implementation("eager")
    eager_loss, eager_gradients = loss_and_gradients(model, faces, labels=LABELS, **text_inputs)
    torch.testing.assert_close(loss, eager_loss)
    torch.testing.assert_close(gradients, eager_gradients, atol=1e-5, rtol=1e-3)


def test_asking_for_maps_does_not_change_logits(tiny_detector, faces):
    with torch.no_grad():
        outputs = tiny_detector(faces, output_attentions=True)
        torch.testing.assert_close(outputs.logits, tiny_detector(faces).logits, atol=1e-5, rtol=1e-5)
    for maps in (outputs.ddca_attentions, outputs.cdca_attentions):
        assert maps.shape == (3, 4, 16)
        torch.testing.assert_close(maps.sum(dim=-1), torch.ones(3, 4))
    num_keys = tiny_detector.config.text_memory_length
    assert outputs.word_attentions.shape == (3, 4, num_keys)
    torch.testing.assert_close(outputs.word_attentions.sum(dim=-1), torch.ones(3, 4))
    as_tuple = tiny_detector(faces, output_attentions=True, return_dict=False)
    attentions = [(3, 4, 16), (3, 4, 16), (3, 4, num_keys)]
    assert [part.shape for part in as_tuple] == [(3, 4), (3, 4, 24), *attentions, (3, 4, 24)]


def test_no_word_about_attentions_stands_for_the_configuration(tiny_detector, faces):
    tiny_detector.set_attn_implementation("eager")
    tiny_detector.config.output_attentions = True
    assert tiny_detector(faces, output_attentions=None).ddca_attentions is not None
    assert tiny_detector(faces, output_attentions=False).ddca_attentions is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_to_full(tiny_detector, faces, text_inputs, dtype):
    half = copy.deepcopy(tiny_detector).to(dtype)
    with torch.no_grad():
        for inputs in ({}, text_inputs):
            full_logits = tiny_detector(faces, **inputs).logits
            logits = half(faces.to(dtype), **inputs).logits
            assert logits.dtype == dtype
            torch.testing.assert_close(logits.float(), full_logits, atol=0.02, rtol=0.05)


def test_training_step_under_autocast_is_close_to_full_precision(make_config, faces, text_inputs):
    model = HiVAForAUDetection(make_config(hidden_dropout_prob=0.0)).train()
    loss, gradients = loss_and_gradients(model, faces, labels=LABELS, **text_inputs)
    with torch.autocast("cpu", torch.bfloat16):
        half_loss, half_gradients = loss_and_gradients(model, faces, labels=LABELS, **text_inputs)
    torch.testing.assert_close(half_loss.float(), loss, atol=0.05, rtol=0.02)
    assert half_gradients.keys() == gradients.keys()
    assert all(torch.isfinite(gradient).all() for gradient in half_gradients.values())
    heads, half_heads = gradients["classifier.weight"], half_gradients["classifier.weight"]
    assert torch.cosine_similarity(heads.flatten(), half_heads.flatten(), dim=0) > 0.99


# Activation checkpointing


def count_saved_tensors(model, *args, **kwargs) -> int:
    """How many tensors the forward pass keeps for the backward pass."""
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor), lambda tensor: tensor):
        model(*args, **kwargs)
    return len(saved)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("backbone", ["dinov2", "timm"])
def test_activation_checkpointing_gives_equal_gradients(
    make_config, swin_config, faces, text_inputs, backbone, reentrant
):
    config = make_config(**({"backbone_config": swin_config} if backbone == "timm" else {}))
    for model, inputs in ((HiVAForPreTraining(config), {}), (HiVAForAUDetection(config), text_inputs)):
        model.train()
        loss, gradients = loss_and_gradients(model, faces, labels=LABELS, **inputs)
        saved = count_saved_tensors(model, faces, labels=LABELS, **inputs)
        # The name since transformers 5.2x, and the one before.
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": reentrant})
        assert count_saved_tensors(model, faces, labels=LABELS, **inputs) < 0.8 * saved
        again, checkpointed = loss_and_gradients(model, faces, labels=LABELS, **inputs)
        torch.testing.assert_close(again, loss)
        torch.testing.assert_close(checkpointed, gradients, atol=1e-6, rtol=1e-4)


# Which parameters move


def is_frozen(name: str) -> bool:
    """Of the four layers of the tiny BERT the last two are trained."""
    return name.startswith("text_model.encoder.") and not name.startswith(
        ("text_model.encoder.encoder.layer.2.", "text_model.encoder.encoder.layer.3.")
    )


def test_reloaded_text_encoder_is_frozen_but_for_its_last_layers(tiny_detector, tmp_path):
    tiny_detector.save_pretrained(tmp_path)
    model = HiVAForAUDetection.from_pretrained(tmp_path)
    model.freeze_text_encoder()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad != is_frozen(name), name


def test_exactly_the_parameters_that_should_move_do(tiny_detector, tmp_path, faces, text_inputs):
    tiny_detector.save_pretrained(tmp_path)
    model = HiVAForAUDetection.from_pretrained(tmp_path).train()
    model.freeze_text_encoder()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    # Weight decay moves every parameter that the optimizer believes to be trained.
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    model(faces, labels=LABELS, **text_inputs).loss.backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == is_frozen(name), name


def test_no_gradient_reaches_the_frozen_layers_even_if_they_are_left_trainable(tiny_config, faces, text_inputs):
    model = HiVAForAUDetection(tiny_config).train()
    _, gradients = loss_and_gradients(model, faces, labels=LABELS, **text_inputs)
    assert gradients.keys() == {name for name, _ in model.named_parameters() if not is_frozen(name)}


def test_frozen_layers_have_no_dropout_in_training(make_config, text_inputs):
    config = make_config()
    config.text_config.hidden_dropout_prob = 0.5
    model = HiVAForAUDetection(config).train()
    states = [model.text_model.encode_frozen(**text_inputs) for _ in range(2)]
    assert torch.equal(*states)
    assert not states[0].requires_grad
    # Afterwards they are in training mode as before, like the rest.
    assert all(module.training for module in model.modules())
    whole = model.eval().text_model.encoder(**text_inputs, output_hidden_states=True).hidden_states[2]
    torch.testing.assert_close(states[0], whole)


def test_hidden_states_of_the_frozen_part_stand_in_for_token_ids(tiny_detector, faces, text_inputs):
    states = tiny_detector.text_model.encode_frozen(**text_inputs)
    mask = text_inputs["attention_mask"]
    with torch.no_grad():
        from_states = tiny_detector(faces, text_hidden_states=states, attention_mask=mask).logits
        from_ids = tiny_detector(faces, **text_inputs).logits
    assert torch.equal(from_states, from_ids)


# Saving and loading


def assert_same_logits(model, other, faces, **inputs):
    with torch.no_grad():
        assert torch.equal(model.eval()(faces, **inputs).logits, other.eval()(faces, **inputs).logits)


def test_stage_1_flows_into_stage_2(tiny_config, tmp_path):
    stage1 = HiVAForPreTraining(tiny_config)
    stage1.vision_model.stem_norm.running_mean.normal_()
    stage1.save_pretrained(tmp_path)
    stage2, info = HiVAForAUDetection.from_pretrained(tmp_path, output_loading_info=True)
    loaded = stage2.vision_model.state_dict()
    for name, value in stage1.vision_model.state_dict().items():
        assert torch.equal(value, loaded[name]), name
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    expected = {name for name in stage2.state_dict() if not name.startswith("vision_model.")}
    assert info["missing_keys"] == expected


def test_stage_2_flows_back_into_stage_1(tiny_detector, tmp_path):
    tiny_detector.save_pretrained(tmp_path)
    stage1, info = HiVAForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["unexpected_keys"]
    assert {name.split(".")[0] for name in info["missing_keys"]} == {"graph", "graph_classifier"}
    assert torch.equal(stage1.vision_model.stem.weight, tiny_detector.vision_model.stem.weight)


def test_training_checkpoint_keeps_text_encoder_and_memory(tiny_detector, tmp_path, faces, text_inputs):
    tiny_detector.save_pretrained(tmp_path)
    model, info = HiVAForAUDetection.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert_same_logits(tiny_detector, model, faces)
    assert_same_logits(tiny_detector, model, faces, **text_inputs)


def test_inference_checkpoint_needs_no_text_encoder(tiny_detector, tmp_path, faces):
    with torch.no_grad():
        logits = tiny_detector(faces).logits
    tiny_detector.drop_text_encoder()
    tiny_detector.save_pretrained(tmp_path)
    assert not any(name.startswith("text_model") for name in tiny_detector.state_dict())
    for auto_class in (HiVAForAUDetection, AutoModel, AutoModelForImageClassification):
        model, info = auto_class.from_pretrained(tmp_path, output_loading_info=True)
        assert isinstance(model, HiVAForAUDetection)
        assert model.text_model is None
        assert not model.training
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        with torch.no_grad():
            assert torch.equal(model(faces).logits, logits)


@pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}])
def test_checkpoint_loads_with_a_device_map(tiny_model_dir, faces, device_map):
    model = HiVAForAUDetection.from_pretrained(tiny_model_dir, device_map=device_map)
    assert_same_logits(HiVAForAUDetection.from_pretrained(tiny_model_dir), model, faces)


def test_parts_may_lie_on_two_devices(tiny_detector, faces):
    for part in (tiny_detector.interaction, tiny_detector.classifier):
        add_hook_to_module(part.to("meta"), AlignDevicesHook("meta"))
    outputs = tiny_detector(faces, labels=LABELS)
    assert outputs.logits.is_meta and outputs.loss.is_meta
    with pytest.raises(ValueError, match="is spread over several devices.*can't be fused"):
        tiny_detector.fuse()


def test_offloaded_model_reads_and_is_not_fused(tiny_model_dir, tmp_path, faces):
    model = HiVAForAUDetection.from_pretrained(tiny_model_dir, device_map={"": "disk"}, offload_folder=tmp_path)
    assert_same_logits(HiVAForAUDetection.from_pretrained(tiny_model_dir), model, faces)
    with pytest.raises(ValueError, match="offloaded can't be fused"):
        model.fuse()
    with pytest.raises(ValueError, match="offloaded can't be fused"):
        cpu_offload(HiVAForAUDetection.from_pretrained(tiny_model_dir), "cpu").fuse()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_checkpoint_loads_in_another_dtype_and_keeps_it(tiny_model_dir, tmp_path, faces, dtype):
    model = HiVAForAUDetection.from_pretrained(tiny_model_dir, dtype=dtype)
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert model.text_memory.dtype == dtype
    assert model.text_memory_mask.dtype == torch.bool
    model.save_pretrained(tmp_path)
    again = HiVAForAUDetection.from_pretrained(tmp_path)
    assert again.dtype == dtype
    assert_same_logits(model, again, faces.to(dtype))


@pytest.mark.parametrize("backbone", ["dinov2", "timm"])
def test_weights_load_into_a_model_built_on_the_meta_device(make_config, swin_config, tmp_path, faces, backbone):
    config = make_config(**({"backbone_config": swin_config} if backbone == "timm" else {}), variant="random_vectors")
    with torch.device("meta"):
        assert all(p.is_meta for p in HiVAForAUDetection(config).parameters())
    # `from_pretrained` builds there as well: no buffer may keep what meta memory happened to hold.
    model = HiVAForAUDetection(config)
    model.save_pretrained(tmp_path)
    loaded = HiVAForAUDetection.from_pretrained(tmp_path)
    state, loaded_state = dict(model.named_buffers()), dict(loaded.named_buffers())
    assert state.keys() == loaded_state.keys()
    assert all(torch.equal(state[name], loaded_state[name]) for name in state)
    assert_same_logits(model, loaded, faces)


def test_buffers_that_a_checkpoint_lacks_are_initialized(tiny_config, make_config, tmp_path):
    HiVAForPreTraining(make_config(variant="random_vectors")).save_pretrained(tmp_path)
    torch.manual_seed(1)
    one = HiVAForAUDetection.from_pretrained(tmp_path).text_model.random_states
    torch.manual_seed(2)
    two = HiVAForAUDetection.from_pretrained(tmp_path).text_model.random_states
    fresh = HiVAForAUDetection(make_config(variant="random_vectors")).text_model.random_states
    model = HiVAForAUDetection(make_config(variant="random_vectors"))
    model.text_model.random_states.zero_()
    with torch.device("meta"):
        model._init_weights(model.text_model)
    # The same fixed vectors each time, of unit variance, one for each AU.
    assert torch.equal(one, two)
    assert torch.equal(one, fresh)
    assert torch.equal(one, model.text_model.random_states)
    assert 0.5 < one.std() < 1.5
    assert len(one.unique(dim=0)) == 4

    HiVAForPreTraining(tiny_config).save_pretrained(tmp_path)
    model = HiVAForAUDetection.from_pretrained(tmp_path, text_memory_length=3)
    assert torch.count_nonzero(model.text_memory) == 0
    assert not model.text_memory_mask.any()


def test_encoding_descriptions_leaves_modes_and_seeds_alone(tiny_detector, tokenizer, faces):
    """Training encodes before each evaluation, also with parts of the network in another mode."""
    tiny_detector.train()
    tiny_detector.vision_model.backbone.eval()
    tiny_detector.text_model.encoder.encoder.layer[-1].eval()
    modes = [module.training for module in tiny_detector.modules()]
    before, state = tiny_detector.text_memory, torch.random.get_rng_state()
    tiny_detector.encode_descriptions(tokenizer)
    assert [module.training for module in tiny_detector.modules()] == modes
    assert torch.equal(tiny_detector.text_memory, before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not tiny_detector.text_memory.requires_grad


def test_text_memory_is_like_the_weights_wherever_it_was_encoded(tiny_detector, tokenizer, faces):
    before = tiny_detector.text_memory
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        tiny_detector.encode_descriptions(tokenizer)
    assert torch.equal(tiny_detector.text_memory, before)
    tiny_detector.train()(faces, labels=torch.ones(3, 4)).loss.backward()
    assert tiny_detector.classifier.weight.grad is not None


def test_text_memory_can_be_encoded_again_for_other_descriptions(tiny_detector, tokenizer, tmp_path, faces):
    tiny_detector.encode_descriptions(tokenizer, ["a", "b", "c", "a much longer description of the last one"])
    tiny_detector.save_pretrained(tmp_path)
    model = HiVAForAUDetection.from_pretrained(tmp_path)
    assert model.config.text_memory_length == model.text_memory.shape[1]
    assert model.config.description_pieces[0] == "[CLS] a [SEP]"
    assert_same_logits(tiny_detector, model, faces)


# Wrong input


def test_labels_of_another_width_are_refused(tiny_detector, faces):
    with pytest.raises(ValueError, match=r"\(3, 5\).*\(3, 4\) is needed.*4 AUs.*AU1, AU4, AU12, AU25.*-100"):
        tiny_detector(faces, labels=torch.ones(3, 5))
    with pytest.raises(ValueError, match=r"\(2, 4\).*\(3, 4\) is needed"):
        tiny_detector(faces, labels=torch.ones(2, 4))


@pytest.mark.parametrize("value", [-1, 9, 2, float("nan"), float("inf")])
def test_labels_of_another_code_are_refused(make_config, tiny_detector, faces, value):
    """-1 for unknown would draw the loss below 0, and ever further."""
    labels = torch.tensor([[0, 1, 0.5, value]])
    for model in (tiny_detector, HiVAForPreTraining(make_config())):
        with pytest.raises(ValueError, match=rf"`labels` has {value:g}, but 1 \(present\)"):
            model(faces[:1], labels=labels)


def test_shares_and_integers_are_labels(tiny_detector, faces):
    labels = torch.tensor([[0, 1, 1, MISSING_LABEL]])
    losses = [tiny_detector(faces[:1], labels=values).loss for values in (labels, labels.float())]
    assert torch.equal(*losses)
    assert tiny_detector(faces[:1], labels=torch.full((1, 4), 0.25)).loss > 0


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 3, 56, 64), (3, 56, 56), (1, 1, 56, 56), (1, 56, 56, 3)])
def test_pictures_of_another_shape_are_refused(tiny_detector, faces, shape):
    with pytest.raises(ValueError, match=r"`pixel_values` has the shape .*\(3, 56, 56\).*image processor"):
        tiny_detector(torch.randn(shape))
    # The refusal leaves the model as it was.
    assert tiny_detector(faces).logits.shape == (3, 4)


def test_backbone_for_another_image_size_is_refused(make_config, swin_config):
    with pytest.raises(ValueError, match=r"`image_size` is 64.*56"):
        HiVAForPreTraining(make_config(backbone_config=swin_config, image_size=64))


def test_missing_text_memory_is_named(tiny_config, faces):
    with pytest.raises(ValueError, match="no text memory: call `model.encode_descriptions"):
        HiVAForAUDetection(tiny_config)(faces)


def test_memory_that_nothing_was_encoded_into_is_a_missing_one(tiny_detector, tokenizer, tmp_path, faces):
    """As in a model of another one's configuration, and in a checkpoint whose file lacks the memory."""
    state_dict = {name: value for name, value in tiny_detector.state_dict().items() if "text_memory" not in name}
    tiny_detector.save_pretrained(tmp_path, state_dict=state_dict)
    for model in (HiVAForAUDetection(tiny_detector.config).eval(), HiVAForAUDetection.from_pretrained(tmp_path)):
        with pytest.raises(ValueError, match="no text memory: call `model.encode_descriptions"):
            model(faces)
        with pytest.raises(ValueError, match="no text memory, which `fuse` folds.*call `model.encode_descriptions"):
            model.fuse()
        model.encode_descriptions(tokenizer)
        assert model.fuse()(faces).logits.shape == (3, 4)


def test_other_aus_need_a_text_memory_of_their_own(tiny_detector, tokenizer, tmp_path, faces):
    tiny_detector.save_pretrained(tmp_path)
    labels = {0: "AU1", 1: "AU2", 2: "AU6", 3: "AU12", 4: "AU15"}
    with pytest.raises(RuntimeError, match="has other AUs or layer sizes.*leave out `id2label`.*must then be trained"):
        HiVAForAUDetection.from_pretrained(tmp_path, id2label=labels)
    model = HiVAForAUDetection.from_pretrained(tmp_path, id2label=labels, ignore_mismatched_sizes=True)
    with pytest.raises(ValueError, match="no text memory"):
        model(faces)
    model.encode_descriptions(tokenizer)
    model.save_pretrained(tmp_path / "again")
    assert HiVAForAUDetection.from_pretrained(tmp_path / "again")(faces).logits.shape == (3, 5)


def test_fields_set_after_the_configuration_was_made_are_checked(tiny_config):
    tiny_config.num_neighbors = 99
    with pytest.raises(ValueError, match="`num_neighbors` is 99"):
        HiVAForPreTraining(tiny_config)


@pytest.mark.parametrize("auto_class", [HiVAForAUDetection, AutoModel])
def test_transformers_variant_names_a_file_of_weights(tiny_model_dir, tmp_path, faces, auto_class):
    model = HiVAForAUDetection.from_pretrained(tiny_model_dir)
    model.save_pretrained(tmp_path, variant="fp16")
    loaded = auto_class.from_pretrained(tmp_path, variant="fp16")
    assert loaded.config.variant == "full"
    assert_same_logits(model, loaded, faces)


def test_models_of_one_configuration_are_saved_as_they_are(tiny_config, tokenizer, tmp_path, faces):
    first, second = HiVAForAUDetection(tiny_config).eval(), HiVAForAUDetection(tiny_config).eval()
    first.encode_descriptions(tokenizer, ["Lips.", "Brows are low.", "The chin.", "Nothing to see here."])
    second.encode_descriptions(tokenizer)
    first.drop_text_encoder()
    for name, model in {"first": first, "second": second}.items():
        model.save_pretrained(tmp_path / name)
        loaded = HiVAForAUDetection.from_pretrained(tmp_path / name)
        assert (loaded.text_model is None) == (name == "first")
        assert_same_logits(loaded, model, faces)


def test_dropping_the_text_encoder_without_a_memory_warns(tiny_config, caplog):
    logging.enable_propagation()
    HiVAForAUDetection(tiny_config).drop_text_encoder()
    logging.disable_propagation()
    assert "without a text memory" in caplog.text


def test_text_inputs_for_a_checkpoint_without_text_encoder_are_refused(tiny_model_dir, faces, text_inputs):
    model = HiVAForAUDetection.from_pretrained(tiny_model_dir)
    with pytest.raises(ValueError, match="checkpoint without a text encoder"):
        model(faces, **text_inputs)


def test_descriptions_of_another_number_are_refused(tiny_detector, tokenizer, faces):
    with pytest.raises(ValueError, match="3 entries, but the model has 4 AUs"):
        tiny_detector.encode_descriptions(tokenizer, ["a", "b", "c"])
    with pytest.raises(ValueError, match="3 descriptions, but the model has 4 AUs"):
        tiny_detector(faces, input_ids=torch.ones(3, 5, dtype=torch.long))


def test_descriptions_that_the_text_encoder_can_not_read_are_refused(tiny_detector, tokenizer, faces, text_inputs):
    with pytest.raises(ValueError, match="description of AU12 has 602 word pieces.* 512 at most"):
        tiny_detector.encode_descriptions(tokenizer, ["a", "b", "lip " * 600, "d"])
    with pytest.raises(ValueError, match=r"`attention_mask` has the shape \(4, 2\)"):
        tiny_detector(faces, input_ids=text_inputs["input_ids"], attention_mask=torch.ones(4, 2))
    text_inputs["attention_mask"][1] = 0
    with pytest.raises(ValueError, match="`attention_mask` is 0 for the whole description of AU4"):
        tiny_detector(faces, **text_inputs)


def test_descriptions_need_a_tokenizer(tiny_detector):
    with pytest.raises(ValueError, match="pass `tokenizer`"):
        tiny_detector.encode_descriptions()


def test_descriptions_cannot_be_encoded_without_text_encoder(tiny_model_dir, tokenizer):
    with pytest.raises(ValueError, match="Load the training checkpoint"):
        HiVAForAUDetection.from_pretrained(tiny_model_dir).encode_descriptions(tokenizer)


def test_checkpoint_of_another_architecture_is_refused(tmp_path):
    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=9)
    BertModel(config).save_pretrained(tmp_path)
    for model_class in (HiVAForAUDetection, HiVAForPreTraining, HiVAConfig):
        with pytest.raises(ValueError, match=rf"'{tmp_path}' holds a model of type 'bert', but a HiVA is needed"):
            model_class.from_pretrained(tmp_path)


def test_folder_without_a_checkpoint_is_refused(tmp_path, tiny_config):
    with pytest.raises(ValueError, match=rf"'{tmp_path}' holds no `config.json` of a model"):
        HiVAForAUDetection.from_pretrained(tmp_path)
    tiny_config.save_pretrained(tmp_path)
    with pytest.raises(OSError, match=rf"no file named model.safetensors.* found in directory {tmp_path}"):
        HiVAForAUDetection.from_pretrained(tmp_path)
