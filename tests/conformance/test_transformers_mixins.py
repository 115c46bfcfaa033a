"""transformers' own tests of models, configurations and image processors, run on HiVA.

They are fetched from the source distribution of the installed transformers (see `fetch_transformers_tests`).
"""

import importlib.util
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import pytest
import torch
from transformers import BertConfig, Dinov2Config, PreTrainedModel, TimmWrapperConfig, initialization
from transformers.testing_utils import torch_device

from hiva_hf import (
    HiVAConfig,
    HiVAForAUDetection,
    HiVAForPreTraining,
    HiVAImageProcessor,
    HiVAImageProcessorPil,
    VLFAUConfig,
    VLFAUForAUDetection,
    VLFAUTextConfig,
    VLFAUTextForCausalLM,
)


def _import_fetcher():
    path = Path(__file__).with_name("fetch_transformers_tests.py")
    spec = importlib.util.spec_from_file_location("fetch_transformers_tests", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fetcher = _import_fetcher()
try:
    sys.path.append(str(fetcher.fetch_transformers_tests()))
except fetcher.FetchError as error:
    pytest.skip(str(error), allow_module_level=True)

from transformers_tests import test_image_processing_common as image_processing  # noqa: E402
from transformers_tests.test_configuration_common import ConfigTester  # noqa: E402
from transformers_tests.test_modeling_common import ModelTesterMixin, floats_tensor  # noqa: E402


# Every test of transformers that is not run although it could be, and why. All other skips are transformers' own
# (no GPU, no rotary embedding, no experts, ...). Overridden, each with its reason in place, are
# `test_sdpa_can_dispatch_composite_models`, how inputs are prepared, and how image processors are looked up; stand-ins
# for what the source distribution lacks are listed in fetch_transformers_tests.py.
SAFETENSORS_ONLY = "asks for a pickle, which HiVA does not read"
ONE_FACE_ENCODER = "offloads halves of a network, and the face encoder, which stays whole, is more than that"
NO_HIDDEN_STATES = "outputs hold the AU features, not the hidden states of one stack of layers"
SKIPPED_MODEL_TESTS = {
    "test_attention_outputs": "expects one map per layer and head; tests/test_modeling_hiva.py checks HiVA's two maps",
    "test_hidden_states_output": NO_HIDDEN_STATES,
    "test_retain_grad_hidden_states_attentions": NO_HIDDEN_STATES,
    "test_eager_matches_sdpa_inference": (
        "compares hidden states, unless the class is a ...Classification; tests/test_modeling_hiva.py compares logits"
    ),
    "test_model_get_set_embeddings": "images are the main input, and the text encoder's embeddings are frozen",
    "test_disk_offload_bin": SAFETENSORS_ONLY,
    "test_disk_offload_safetensors": ONE_FACE_ENCODER,
    "test_cpu_offload": ONE_FACE_ENCODER,
}
TIMM_CHECKPOINTING = "timm checkpoints layers of its own; tests/test_modeling_hiva.py compares their gradients"
SKIPPED_TIMM_TESTS = {
    "test_gradient_checkpointing_enable_disable": TIMM_CHECKPOINTING,
    "test_training_gradient_checkpointing": TIMM_CHECKPOINTING,
}
NO_GENERATION_TESTER = (
    "transformers' source distribution lacks GenerationTesterMixin; tests/test_modeling_vl_fau.py tests `generate`"
)
SKIPPED_VL_FAU_TESTS = SKIPPED_MODEL_TESTS | {
    "test_attention_outputs": "expects one map per layer and head; tests/test_modeling_vl_fau.py checks VL-FAU's maps",
    "test_eager_matches_sdpa_inference": (
        "compares hidden states, unless the class is a ...Classification; tests/test_modeling_vl_fau.py has logits"
    ),
    "test_model_get_set_embeddings": "images are the main input; the embeddings are the decoders' own",
    "test_generation_tester_mixin_inheritance": NO_GENERATION_TESTER,
    "test_model_base_model_prefix": "the decoders that write are parts of it, not heads on a base model",
}
SKIPPED_VL_FAU_TEXT_TESTS = {
    "test_disk_offload_bin": SAFETENSORS_ONLY,
    "test_bc_cache_name_forward": "the old name of the cache is no mistake: transformers before 5.24 passes it",
    "test_eager_matches_sdpa_inference": "without a face to read about; tests/test_modeling_vl_fau.py compares logits",
    "test_generation_tester_mixin_inheritance": NO_GENERATION_TESTER,
    "test_model_base_model_prefix": "there is no decoder without its head",
}
SKIPPED_IMAGE_PROCESSING_TESTS = {
    "test_pil_can_": (
        "in a new process that does not import hiva_hf; tests/test_image_processing_hiva.py does it in one that does"
    ),
}


def skip_tests(reasons: dict[str, str]):
    """Class decorator: skips the tests whose names begin with a key (transformers numbers variants of a test)."""

    def decorate(cls):
        for prefix, reason in reasons.items():
            names = [name for name in dir(cls) if name.startswith(prefix)]
            for name in names:
                setattr(cls, name, unittest.skip(reason)(lambda self: None))
        return cls

    return decorate


class HiVAModelTester:
    """A HiVA over 4 AUs on a 2-layer DINOv2 and a 2-layer BERT, whose last layer is trained."""

    is_training = True
    batch_size = 3
    num_labels = 4
    seq_length = 7
    vocab_size = 99
    image_size = 28

    def __init__(self, parent):
        self.parent = parent

    def get_backbone_config(self):
        return Dinov2Config(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=self.image_size,
            use_mask_token=False,
        )

    def get_config(self, **overrides) -> HiVAConfig:
        return HiVAConfig(
            backbone_config=self.get_backbone_config(),
            text_config=BertConfig(
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                vocab_size=self.vocab_size,
            ),
            num_trainable_text_layers=1,
            image_size=self.image_size,
            hidden_size=16,
            num_attention_heads=2,
            intermediate_size=32,
            num_context_layers=2,
            num_neighbors=2,
            id2label={0: "AU1", 1: "AU2", 2: "AU4", 3: "AU6"},
            **overrides,
        )

    def prepare_config_and_inputs_for_common(self):
        inputs = {"pixel_values": floats_tensor([self.batch_size, 3, self.image_size, self.image_size])}
        return self.get_config(), inputs


@skip_tests(SKIPPED_MODEL_TESTS)
class HiVAModelTest(ModelTesterMixin, unittest.TestCase):
    """Both stages, the second one with its text encoder."""

    all_model_classes = (HiVAForAUDetection, HiVAForPreTraining)
    model_tester_class = HiVAModelTester
    test_resize_embeddings = False
    # The frozen part of the text encoder has none.
    test_all_params_have_gradient = False
    _is_composite = True

    def setUp(self):
        self.model_tester = self.model_tester_class(self)
        self.config_tester = ConfigTester(self, config_class=HiVAConfig, has_text_modality=False)

    def test_config(self):
        self.config_tester.run_common_tests()

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs_dict = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if model_class is HiVAForAUDetection and self.model_tester.get_config().use_text_encoder:
            # One description for each AU, not for each image: the common inputs are cut along the batch.
            shape = (self.model_tester.num_labels, self.model_tester.seq_length)
            inputs_dict["input_ids"] = torch.arange(shape[0] * shape[1], device=torch_device).view(shape)
            inputs_dict["attention_mask"] = torch.ones(shape, dtype=torch.long, device=torch_device)
        if return_labels:
            shape = (self.model_tester.batch_size, self.model_tester.num_labels)
            inputs_dict["labels"] = torch.ones(shape, device=torch_device)
        return inputs_dict

    def test_sdpa_can_dispatch_composite_models(self):
        """The same check for HiVA's sub-models, as the original asks of models whose parts have other names."""
        for model_class in self.all_model_classes:
            with tempfile.TemporaryDirectory() as folder:
                model_class(self.model_tester.get_config()).save_pretrained(folder)
                for requested, expected in ((None, "sdpa"), ("sdpa", "sdpa"), ("eager", "eager")):
                    model = model_class.from_pretrained(folder, attn_implementation=requested)
                    for submodel in model.modules():
                        if isinstance(submodel, PreTrainedModel):
                            self.assertEqual(submodel.config._attn_implementation, expected)


class HiVAInferenceModelTester(HiVAModelTester):
    """An inference checkpoint: cached text memory, no text encoder."""

    def get_config(self, **overrides):
        return super().get_config(use_text_encoder=False, text_memory_length=5, **overrides)


class HiVAInferenceModelTest(HiVAModelTest):
    all_model_classes = (HiVAForAUDetection,)
    model_tester_class = HiVAInferenceModelTester

    def setUp(self):
        """The tests build models of configurations alone, whose text memory is empty: it is filled as they start."""
        super().setUp()
        init_weights = HiVAForAUDetection._init_weights

        @torch.no_grad()
        def init_weights_and_memory(model, module):
            init_weights(model, module)
            if isinstance(module, HiVAForAUDetection):
                initialization.ones_(module.text_memory_mask)

        patch = mock.patch.object(HiVAForAUDetection, "_init_weights", init_weights_and_memory)
        patch.start()
        self.addCleanup(patch.stop)

    def test_init_weights_can_init_buffers(self):
        """Of what the network itself does."""
        self.doCleanups()
        super().test_init_weights_can_init_buffers()


class HiVATimmModelTester(HiVAModelTester):
    """A HiVA on a small timm Swin, which has buffers that no checkpoint holds."""

    image_size = 56

    def get_backbone_config(self):
        swin = {"embed_dim": 8, "depths": (2, 2), "num_heads": (2, 2), "img_size": self.image_size}
        return TimmWrapperConfig(architecture="swin_tiny_patch4_window7_224", model_args=swin, do_pooling=False)


@skip_tests(SKIPPED_TIMM_TESTS)
class HiVATimmModelTest(HiVAModelTest):
    model_tester_class = HiVATimmModelTester


class VLFAUModelTester:
    """A VL-FAU over 4 AUs on a 3-layer DINOv2, with decoders of one layer."""

    is_training = True
    batch_size = 3
    num_labels = 4
    seq_length = 7
    vocab_size = 99
    image_size = 28

    def __init__(self, parent):
        self.parent = parent

    def get_backbone_config(self):
        return Dinov2Config(
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=self.image_size,
            use_mask_token=False,
        )

    def get_config(self, **overrides) -> VLFAUConfig:
        return VLFAUConfig(
            backbone_config=self.get_backbone_config(),
            text_config={
                "vocab_size": self.vocab_size,
                "hidden_size": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "intermediate_size": 32,
            },
            image_size=self.image_size,
            hidden_size=16,
            id2label={0: "AU1", 1: "AU2", 2: "AU4", 3: "AU6"},
            **overrides,
        )

    def prepare_config_and_inputs_for_common(self):
        inputs = {"pixel_values": floats_tensor([self.batch_size, 3, self.image_size, self.image_size])}
        return self.get_config(), inputs


@skip_tests(SKIPPED_VL_FAU_TESTS)
class VLFAUModelTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (VLFAUForAUDetection,)
    model_tester_class = VLFAUModelTester
    test_resize_embeddings = False
    _is_composite = True
    test_sdpa_can_dispatch_composite_models = HiVAModelTest.test_sdpa_can_dispatch_composite_models

    def setUp(self):
        self.model_tester = self.model_tester_class(self)
        self.config_tester = ConfigTester(self, config_class=VLFAUConfig, has_text_modality=False)

    def test_config(self):
        self.config_tester.run_common_tests()

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs_dict = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels:
            tester = self.model_tester
            shape = (tester.batch_size, tester.num_labels)
            sentences = torch.ones(*shape, tester.seq_length, dtype=torch.long, device=torch_device)
            inputs_dict["labels"] = torch.ones(shape, device=torch_device)
            inputs_dict["local_labels"], inputs_dict["global_labels"] = sentences, sentences[:, 0]
        return inputs_dict


class VLFAUTimmModelTester(VLFAUModelTester):
    """A VL-FAU on a small timm Swin."""

    image_size = 112

    def get_backbone_config(self):
        swin = {"embed_dim": 8, "depths": (1, 1, 1), "num_heads": (2, 2, 2), "img_size": self.image_size}
        return TimmWrapperConfig(architecture="swin_tiny_patch4_window7_224", model_args=swin, do_pooling=False)


@skip_tests(SKIPPED_TIMM_TESTS)
class VLFAUTimmModelTest(VLFAUModelTest):
    model_tester_class = VLFAUTimmModelTester


class VLFAUTextModelTester:
    """The language decoder alone."""

    is_training = True
    batch_size = 3
    seq_length = 7
    num_hidden_layers = 2
    hidden_size = 16
    num_attention_heads = 2

    def __init__(self, parent):
        self.parent = parent

    def get_config(self) -> VLFAUTextConfig:
        return VLFAUTextConfig(
            vocab_size=99,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            intermediate_size=32,
            encoder_hidden_size=12,
        )

    def prepare_config_and_inputs_for_common(self):
        ids = torch.randint(3, 99, (self.batch_size, self.seq_length), device=torch_device)
        face = floats_tensor([self.batch_size, 5, 12])
        return self.get_config(), {"input_ids": ids, "encoder_hidden_states": face}


@skip_tests(SKIPPED_VL_FAU_TEXT_TESTS)
class VLFAUTextModelTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (VLFAUTextForCausalLM,)

    def setUp(self):
        self.model_tester = VLFAUTextModelTester(self)
        self.config_tester = ConfigTester(self, config_class=VLFAUTextConfig, hidden_size=16, num_attention_heads=2)

    def test_config(self):
        self.config_tester.run_common_tests()

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs_dict = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels:
            inputs_dict["labels"] = inputs_dict["input_ids"].clone()
        return inputs_dict


class HiVAImageProcessingTester(image_processing.ImageProcessingTester):
    def __init__(self, parent, **kwargs):
        kwargs.setdefault("size", {"height": 20, "width": 20})
        kwargs.setdefault("crop_size", {"height": 18, "width": 18})
        super().__init__(parent, **kwargs)

    def _get_image_processing_classes(self):
        # The original looks the classes up by the folder of the test.
        return {"torchvision": HiVAImageProcessor, "pil": HiVAImageProcessorPil}


@skip_tests(SKIPPED_IMAGE_PROCESSING_TESTS)
class HiVAImageProcessingTest(image_processing.ImageProcessingTestMixin, unittest.TestCase):
    image_processor_tester_class = HiVAImageProcessingTester
