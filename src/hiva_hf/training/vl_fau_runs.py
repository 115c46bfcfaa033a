"""A whole run of VL-FAU: data, its only stage, test, and the exported checkpoint."""

import logging
from pathlib import Path

import numpy as np
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from transformers import AutoModel

from ..facs import MISSING_LABEL
from ..language.tokenizer import build_state_tokenizer
from ..modeling_vl_fau import VLFAUForAUDetection
from ..saved_checkpoints import save_checkpoint
from .arguments import AUTrainingArguments
from .engine import Stage
from .run_folder import TEST_SENTENCES_FILE, VL_FAU_STAGE
from .runs import TrainingRun
from .sentences import DescribedFaces, StateSentences
from .written_sentences import save_sentences, score_sentences, write_sentences


logger = logging.getLogger(__name__)


class VLFAUTrainingRun(TrainingRun):
    """Trains a VL-FAU for AUs and both kinds of sentences in one stage, selects its best epoch and tests it.

    Args:
        arguments: All settings; results go to `arguments.output_dir`.
    """

    title = "VL-FAU"

    def __init__(self, arguments: AUTrainingArguments):
        super().__init__(arguments)
        # The same for all data sets, and not trained.
        self.tokenizer = build_state_tokenizer()

    def build_detector(self) -> VLFAUForAUDetection:
        """The network on a pretrained vision tower."""
        arguments = self.arguments
        return VLFAUForAUDetection.from_vision_pretrained(
            self._vision_tower(),
            self.tokenizer,
            id2label=dict(enumerate(self.au_labels)),
            image_size=arguments.image_size,
            hidden_size=arguments.hidden_size,
            text_config={
                "hidden_size": arguments.decoder_hidden_size,
                "intermediate_size": 2 * arguments.decoder_hidden_size,
                "num_hidden_layers": arguments.decoder_layers,
                "num_attention_heads": arguments.num_attention_heads,
            },
            variant=arguments.variant,
            local_loss_weight=arguments.local_loss_weight,
            global_loss_weight=arguments.global_loss_weight,
            loss_reduction=arguments.loss_reduction,
            label_weights=self._label_weights(),
            attn_implementation=arguments.attn_implementation,
        )

    def train(self) -> Path:
        """Trains everything at once. Returns the folder of the best epoch."""
        stage = Stage(VL_FAU_STAGE, self.arguments.num_train_epochs, self.arguments.learning_rate)
        # Inconsistent settings are reported here, before anything in the folder changes.
        model = self.build_detector()
        if model.config.writes_global_sentence:
            self._check_completely_labelled_faces()
        self._open_folder(model)
        if self._is_finished(stage):
            return self.output_dir / stage.name
        self.sentences = StateSentences(
            self.tokenizer,
            self.au_labels,
            writes_local=model.config.writes_local_sentences,
            writes_global=model.config.writes_global_sentence,
        )
        return self._train_stage(model, stage)

    def _check_completely_labelled_faces(self):
        """The sentence about a face is learned from faces all of whose AUs are known."""
        labels = np.array(self.splits["train"]["labels"][:])
        num_complete = int((labels != MISSING_LABEL).all(axis=1).sum())
        if num_complete == 0:
            raise ValueError(
                f"None of the {len(labels)} training faces has a label for each of the {len(self.au_labels)} AUs, so "
                "sentences about whole faces can't be learned: train without them (`--variant no_global`), or on data "
                "sets with the same AUs."
            )
        if num_complete < len(labels):
            logger.warning(
                "Sentences about whole faces are learned from the %d of %d training faces that have a label for each "
                "AU.",
                num_complete,
                len(labels),
            )

    def _train_faces(self) -> DescribedFaces:
        return DescribedFaces(self.splits["train"], self._augmentation(), self.arguments.seed, self.sentences)

    def export(self, trained: Path):
        """Writes the checkpoint to the run's folder: network, image processor, and the tokenizer of its sentences."""
        if self.accelerator.is_main_process:
            model = VLFAUForAUDetection.from_pretrained(trained)
            self._mix_with_pretrained_backbone(model)
            save_checkpoint(self.output_dir, model, self.image_processor, self.tokenizer)
        self.accelerator.wait_for_everyone()

    def _further_metrics(self, faces: Dataset, labels: np.ndarray, probabilities: np.ndarray) -> dict:
        """Scores of the exported checkpoint's sentences about the test subjects, which are saved in the folder."""
        model = AutoModel.from_pretrained(self.output_dir).to(self.accelerator.device)
        written = write_sentences(
            self.accelerator, model, self.tokenizer, self._evaluation_loader(faces), "writing", self._stop_if_asked
        )
        scores = [None]
        if self.accelerator.is_main_process:
            save_sentences(self.output_dir / TEST_SENTENCES_FILE, faces, written, self.au_labels)
            scores = [score_sentences(written, labels, probabilities, self.au_labels)]
        return broadcast_object_list(scores)[0]
