"""A whole run of HiVA: data, stage 1, stage 2, test, and the exported checkpoint."""

from dataclasses import replace
from pathlib import Path

import torch
from accelerate.utils import set_seed
from transformers import AutoTokenizer

from ..modeling_hiva import HiVAForAUDetection, HiVAForPreTraining
from ..saved_checkpoints import save_checkpoint
from .arguments import paper_num_neighbors
from .descriptions import DescriptionBank, description_variants, write_description_embeddings
from .engine import Stage
from .input_digests import digest_of_descriptions
from .runs import TrainingRun
from .towers import packaged_text_tower


class HiVATrainingRun(TrainingRun):
    """Trains a HiVA in two stages, selects the best epoch of each and tests it.

    Args:
        arguments: All settings; results go to `arguments.output_dir`.
    """

    title = "HiVA"

    def _text_tower(self) -> str:
        text = self.arguments.text_model_name_or_path
        return str(text if text is not None else packaged_text_tower())

    def build_detector(self) -> HiVAForAUDetection:
        """The stage-2 network on pretrained towers; also loads the tokenizer of its text tower."""
        vision, text = self._vision_tower(), self._text_tower()
        arguments = self.arguments
        # Only stage 2 reads descriptions, but an error in their file or the tokenizer's is reported before stage 1.
        description_variants(arguments.descriptions, self.au_labels)
        self.tokenizer = AutoTokenizer.from_pretrained(text)
        detector = self._untrained_detector(vision, text, arguments.variant)
        if arguments.variant != "full":
            _copy_equal_parts(self._untrained_detector(vision, text, "full"), detector)
        return detector

    def _untrained_detector(self, vision: str, text: str, variant: str) -> HiVAForAUDetection:
        arguments = self.arguments
        set_seed(arguments.seed)
        return HiVAForAUDetection.from_vision_text_pretrained(
            vision,
            text,
            id2label=dict(enumerate(self.au_labels)),
            image_size=arguments.image_size,
            hidden_size=arguments.hidden_size,
            intermediate_size=arguments.intermediate_size,
            num_attention_heads=arguments.num_attention_heads,
            num_neighbors=arguments.num_neighbors or min(paper_num_neighbors(arguments.dataset), len(self.au_labels)),
            text_level=arguments.text_level,
            variant=variant,
            difference_loss_weight=arguments.difference_loss_weight,
            loss_reduction=arguments.loss_reduction,
            label_weights=self._label_weights(),
            attn_implementation=arguments.attn_implementation,
        )

    def train(self) -> Path:
        """Trains both stages. Returns the folder of the best epoch of stage 2."""
        detector = self.build_detector()
        return self.train_stage2(self.train_stage1(detector), detector)

    def train_stage1(self, detector: HiVAForAUDetection) -> Path:
        """Trains vision and graph, from the detector's untrained vision. Returns the folder of the best epoch."""
        arguments = self.arguments
        stage = Stage("stage1", arguments.stage1_epochs, arguments.stage1_learning_rate)
        self._open_folder(detector)
        if self._is_finished(stage):
            return self.output_dir / stage.name
        model = HiVAForPreTraining(detector.config)
        model.vision_model.load_state_dict(detector.vision_model.state_dict())
        return self._train_stage(model, stage)

    def train_stage2(self, stage1: Path, model: HiVAForAUDetection) -> Path:
        """Trains vision, text and interaction, from stage 1's vision. Returns the folder of the best epoch.

        Args:
            stage1: Folder of the stage-1 network.
            model: The detector that was built; it is trained in place.
        """
        arguments = self.arguments
        stage = Stage("stage2", arguments.stage2_epochs, arguments.stage2_learning_rate, arguments.stage1_epochs)
        self._open_folder(model)
        if self._is_finished(stage):
            return self.output_dir / stage.name
        model.vision_model.load_state_dict(HiVAForPreTraining.from_pretrained(stage1).vision_model.state_dict())
        model.to(self.accelerator.device)
        if model.config.reads_descriptions:
            bank = DescriptionBank(model, self.tokenizer, self.arguments.descriptions)
            # From here on the text memory is part of the training checkpoints.
            bank.renew_text_memory(model)
            stage = replace(
                stage,
                step_inputs=bank.draw,
                before_evaluation=lambda model, epoch: self._renew_text_memory(bank, model, epoch),
            )
        else:
            model.encode_descriptions()
            stage = replace(stage, before_evaluation=lambda model, epoch: model.encode_descriptions())
        model.freeze_text_encoder()
        return self._train_stage(model, stage)

    def _renew_text_memory(self, bank: DescriptionBank, model: HiVAForAUDetection, epoch: int):
        embeddings = bank.renew_text_memory(model)
        if self.accelerator.is_main_process:
            write_description_embeddings(self.output_dir, epoch, embeddings)

    def digests_of_inputs(self) -> dict[str, str]:
        digests = super().digests_of_inputs()
        # Descriptions of the package change only with its version, and a warning reports other versions.
        if Path(self.arguments.descriptions).is_file():
            descriptions = description_variants(self.arguments.descriptions, self.au_labels)
            digests["descriptions"] = digest_of_descriptions(descriptions)
        return digests

    def export(self, trained: Path):
        """Writes network (without text side, but with its cached memory) and image processor to the run's folder."""
        if self.accelerator.is_main_process:
            model = HiVAForAUDetection.from_pretrained(trained)
            self._mix_with_pretrained_backbone(model)
            model.drop_text_encoder()
            save_checkpoint(self.output_dir, model, self.image_processor)
        self.accelerator.wait_for_everyone()


@torch.no_grad()
def _copy_equal_parts(source: torch.nn.Module, target: torch.nn.Module):
    """Makes the common parts of two variants start from the same weights, so that only their difference matters."""
    found = source.state_dict()
    for name, tensor in target.state_dict().items():
        if name in found and found[name].shape == tensor.shape:
            tensor.copy_(found[name])
