"""Convert a finished training run to the packaged starter checkpoint, and write its model card.

accelerate launch examples/train.py --preset starter --dataset synthfacs --data_dir FACES --output_dir hiva-starter
python examples/photo_agreement.py --checkpoint hiva-starter --landmarker TASK --output agreement.json PHOTOS...
python examples/make_starter.py hiva-starter agreement.json
"""

import argparse
from pathlib import Path

from transformers import AutoImageProcessor, AutoModel

from hiva_hf.evaluation.metrics import tune_thresholds
from hiva_hf.evaluation.predictions import read_predictions
from hiva_hf.hub.finished_run import read_finished_run
from hiva_hf.hub.model_card import read_photo_agreement, render_card
from hiva_hf.packaged_checkpoint import STARTER_FOLDER
from hiva_hf.training.compact_checkpoint import save_compact_checkpoint
from hiva_hf.training.run_folder import VALIDATION_PREDICTIONS_FILE


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path, help="finished run")
    parser.add_argument("agreement", type=Path, help="what examples/photo_agreement.py wrote about it")
    parser.add_argument("--output_dir", type=Path, default=STARTER_FOLDER, help="default: the package's own")
    parser.add_argument("--card", type=Path, default=Path("model_cards/starter.md"), help="default: %(default)s")
    return parser.parse_args()


def main():
    options = parse_options()
    agreement = read_photo_agreement(options.agreement)
    validation = read_predictions(options.run_dir / VALIDATION_PREDICTIONS_FILE)
    thresholds = tune_thresholds(validation.labels, validation.probabilities, validation.au_labels)
    model = AutoModel.from_pretrained(options.run_dir)
    model.config.label_thresholds = [round(float(threshold), 3) for threshold in thresholds]
    if agreement.experimental_labels is not None:
        model.config.experimental_labels = list(agreement.experimental_labels)
    save_compact_checkpoint(model, AutoImageProcessor.from_pretrained(options.run_dir), options.output_dir)
    size = (options.output_dir / "model.safetensors").stat().st_size
    experimental = ", ".join(model.config.experimental_labels or ()) or "none"
    print(f"{options.output_dir}: {size / 1e6:.1f} MB, experimental: {experimental}")
    card = render_card("starter", read_finished_run(options.run_dir), agreement=agreement)
    options.card.write_text(str(card), encoding="utf-8")


if __name__ == "__main__":
    main()
