"""Do the maps of a detector match the regions of its Action Units? Attention and sensitivity, compared with chance.

python examples/map_agreement.py --checkpoint hiva-synthfacs
python examples/map_agreement.py --checkpoint hiva-bp4d-fold1 --dataset bp4d --data_dir prepared/bp4d

Only AUs that are active both in the labels and for the detector are counted. The share of a map on the AU's own region
of the face is compared with the region's share of the picture, which a uniform map would have. A map names a region
by the same rule as explanations: `hiva_hf.au_explanation.map_places`.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import AutoImageProcessor, AutoModel

from hiva_hf import HiVAForAUDetection
from hiva_hf.atomic_files import write_text
from hiva_hf.au_explanation import REGIONS, FaceEvidence, map_places, places_of, region_cells
from hiva_hf.data.loading import load_au_dataset
from hiva_hf.data.views import evenly_spaced
from hiva_hf.face_alignment import TEMPLATE
from hiva_hf.facs import get_action_unit
from hiva_hf.pipeline_au_detection import square_maps
from hiva_hf.reported_errors import REPORTED_ERRORS, message_of
from hiva_hf.sensitivity import read_with_sensitivity


KINDS = {"ddca": "attention", "cdca": "attention", "sensitivity": "sensitivity"}
BATCH_SIZE = 8


def parse_options(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="Folder or Hub id of a HiVA detector.")
    parser.add_argument("--dataset", default="synthfacs", help="Name of the data set [synthfacs].")
    parser.add_argument("--data_dir", help="Its folder; the embedded data set needs none.")
    parser.add_argument("--fold", type=int, default=1, help="Fold whose test subjects are used [1].")
    parser.add_argument("--max_samples", type=int, default=200, help="Largest number of faces, evenly spaced [200].")
    parser.add_argument("--output", type=Path, help="JSON file with all figures.")
    options = parser.parse_args(words)
    if options.max_samples < 1:
        parser.error(f"--max_samples is {options.max_samples}, but at least 1 face is needed.")
    return options


def load_detector(checkpoint: str) -> HiVAForAUDetection:
    """Loads a HiVA detector; raises a `ValueError` for others, which lack its attention maps or gradients."""
    model = AutoModel.from_pretrained(checkpoint)
    if not isinstance(model, HiVAForAUDetection):
        raise ValueError(
            f"{checkpoint} is not a checkpoint of a HiVAForAUDetection: other models have other maps, and exports "
            "have no gradients."
        )
    return model.eval()


def aligned_landmarks(processor) -> np.ndarray:
    """Positions of the landmarks `[5, 2]` after alignment, relative to the network's input."""
    seen = processor.crop_size["height"] / processor.size["height"] if processor.do_center_crop else 1.0
    return (TEMPLATE - 0.5) / seen + 0.5


def read_maps(model, processor, faces) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Probabilities `[n, N]`, thresholds `[N]` and maps `[n, N, h, w]` of each kind that the detector has."""
    probabilities, maps = [], {kind: [] for kind in KINDS}
    thresholds = torch.tensor(model.config.au_thresholds)
    for start in tqdm(range(0, len(faces), BATCH_SIZE), unit="batch"):
        pixels = processor(faces[start : start + BATCH_SIZE]["image"], return_tensors="pt")["pixel_values"]
        outputs, sensitivity = read_with_sensitivity(model, pixels, thresholds, output_attentions=True)
        probabilities.append(outputs["logits"].sigmoid().numpy())
        for kind, values in (("ddca", outputs.ddca_attentions), ("cdca", outputs.cdca_attentions)):
            if values is not None:
                maps[kind].append(square_maps(values))
        maps["sensitivity"].append(sensitivity.numpy())
    found = {kind: np.concatenate(values) for kind, values in maps.items() if values}
    return np.concatenate(probabilities), thresholds.numpy(), found


def own_shares(maps: np.ndarray, landmarks: np.ndarray, labels: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The share `[n, N]` of each map on its AU's own region, and that region's share `[N]` of the picture."""
    cells = region_cells(landmarks, *maps.shape[2:])
    regions = [[REGIONS.index(name) for name in places_of(get_action_unit(label).region)] for label in labels]
    own = np.stack([cells[rows].sum(axis=0) for rows in regions])
    return np.einsum("bnhw,nhw->bn", maps, own), own.mean(axis=(1, 2))


def named_regions(
    maps: np.ndarray, kind: str, landmarks: np.ndarray, labels: list[str], probabilities: np.ndarray, thresholds
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each map names a region, and whether that is its AU's own: two arrays `[n, N]` of 0 and 1."""
    named, agrees = (np.zeros(probabilities.shape, dtype=bool) for _ in range(2))
    for row in range(len(maps)):
        evidence = FaceEvidence(labels, probabilities[row], thresholds, maps=maps[row], kind=kind, landmarks=landmarks)
        for index, place in enumerate(map_places(evidence)):
            named[row, index] = place is not None and place.region is not None and place.is_specific
            agrees[row, index] = named[row, index] and bool(place.agrees)
    return named, agrees


def compare(options: argparse.Namespace):
    """Prints a table of the shares, and writes all figures to a file if requested."""
    if options.output is not None:
        # Fails before the evaluation if the folder can't be created.
        options.output.parent.mkdir(parents=True, exist_ok=True)
    model = load_detector(options.checkpoint)
    processor = AutoImageProcessor.from_pretrained(options.checkpoint)
    labels = model.config.au_labels
    numbers = [get_action_unit(label).number for label in labels]
    faces = load_au_dataset(options.dataset, options.data_dir, fold=options.fold, split="test", aus=numbers)
    if options.max_samples < len(faces):
        faces = faces.select(evenly_spaced(len(faces), options.max_samples))
    landmarks = aligned_landmarks(processor)
    probabilities, thresholds, maps = read_maps(model, processor, faces)
    counted = (np.array(faces["labels"][:]) == 1) & (probabilities >= thresholds)
    seen = [index for index in range(len(labels)) if counted[:, index].any()]
    if not seen:
        raise ValueError(
            f"There is nothing to count: on none of {len(faces)} faces of {options.dataset} is an AU active both in "
            "the labels and for the detector."
        )

    figures = {"faces": len(faces), "cases": {labels[index]: int(counted[:, index].sum()) for index in seen}}
    for kind, values in maps.items():
        shares, areas = own_shares(values, landmarks, labels)
        named, agrees = named_regions(values, KINDS[kind], landmarks, labels, probabilities, thresholds)
        figures["chance"] = {labels[index]: float(areas[index]) for index in seen}
        figures[kind] = {labels[index]: float(shares[counted[:, index], index].mean()) for index in seen}
        figures[f"{kind} names a region"] = float(named[counted].mean())
        figures[f"{kind} names its own"] = float(agrees[counted].sum() / max(1, named[counted].sum()))

    columns = ["chance", *maps]
    print(f"Share of the maps on the AU's own region, {len(faces)} faces of {options.dataset}\n")
    print("| AU | Region | Cases | " + " | ".join(columns) + " |")
    print("| --- | --- | ---: |" + " ---: |" * len(columns))
    for index in seen:
        label = labels[index]
        cells = " | ".join(f"{figures[column][label]:.3f}" for column in columns)
        print(f"| {label} | {get_action_unit(label).region} | {figures['cases'][label]} | {cells} |")
    means = " | ".join(f"{np.mean(list(figures[column].values())):.3f}" for column in columns)
    print(f"| Mean | | {sum(figures['cases'].values())} | {means} |\n")
    for kind in maps:
        print(
            f"{kind}: {figures[f'{kind} names a region']:.0%} of the maps name a region, "
            f"{figures[f'{kind} names its own']:.0%} of these the AU's own"
        )
    # Written after the table is printed, so that an error does not lose it.
    if options.output is not None:
        write_text(options.output, json.dumps(figures, indent=2) + "\n")


def main():
    options = parse_options()
    try:
        compare(options)
    except REPORTED_ERRORS as error:
        sys.exit(f"map_agreement.py: {message_of(error)}")


if __name__ == "__main__":
    main()
