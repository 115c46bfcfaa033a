# %% [markdown]
# # Fine-tune on my labels
#
# You have coded some hundreds of pictures, by rules that differ slightly from those that the detector learned. This
# notebook fine-tunes it on your labels, and measures on unseen people whether that helped.
#
# Run it cell by cell, or as a whole: `python examples/notebook_fine_tune.py --data_dir my_faces`. It needs `pip
# install ".[train]"`.

# %%
import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from datasets import concatenate_datasets
from transformers import AutoImageProcessor, Trainer, TrainingArguments, pipeline

import hiva_hf
from hiva_hf.data.custom import read_custom
from hiva_hf.data.prepare import prepare
from hiva_hf.data.report_text import report_text
from hiva_hf.evaluation.metrics import compute_au_metrics, tune_thresholds
from hiva_hf.training.augmentation import AugmentedFaces, FaceAugmentation
from hiva_hf.training.optimization import freeze_backbone


parser = argparse.ArgumentParser(description="Fine-tune a detector on your own labels.")
parser.add_argument("--data_dir", type=Path, help="pictures and labels.csv; default: rendered faces, written here")
parser.add_argument("--model", help="folder or Hub id of the detector to start from; default: the starter")
parser.add_argument("--epochs", type=float, default=4, help="passes over the training faces (default: %(default)s)")
parser.add_argument("--learning_rate", type=float, default=1e-3, help="peak learning rate (default: %(default)s)")
parser.add_argument("--output_dir", type=Path, default=Path("hiva-fine-tuned"), help="default: %(default)s")
# A notebook has no command line: change the defaults here.
options = parser.parse_args([] if "ipykernel" in sys.modules else None)
options.output_dir.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## My labels
#
# A folder with pictures and a table `labels.csv`: `path`, `subject` (the person, so that nobody is both in training
# and test) and a column for each AU that was coded: 1, 0, or empty if it is unknown.
#
# Without `--data_dir`, such a folder is created **from rendered faces of fictitious people**, as if by a lab with its
# own rule: it codes AU25 (lips part) only where the jaw does not drop (AU26). The detector learned to detect both.


# %%
def write_faces(folder, aus=(1, 2, 12, 17, 25, 26), people=30, pictures=8):
    """The most expressive pictures of some people, and their labels.csv."""
    faces = hiva_hf.load_au_dataset("synthfacs", split="test", aus=aus)
    rows = []
    for who in sorted(set(faces["subject"]))[:people]:
        of_person = faces.filter(lambda name, who=who: name == who, input_columns="subject")
        (folder / who).mkdir(parents=True, exist_ok=True)
        for face in sorted(of_person, key=lambda face: -sum(face["intensities"]))[:pictures]:
            path = f"{who}/{face['frame']:02d}.jpg"
            face["image"].save(folder / path, quality=95)
            labels = {f"AU{au}": label for au, label in zip(aus, face["labels"], strict=True)}
            labels["AU25"] = int(labels["AU25"] and not labels["AU26"])
            rows.append({"path": path, "subject": who} | labels)
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return folder


data_dir = options.data_dir or write_faces(options.output_dir / "my_faces")
print((data_dir / "labels.csv").read_text()[:300])

# %% [markdown]
# ## Prepare
#
# The same as `hiva-hf prepare custom`: it finds and aligns the face in every picture, and reports what it found. It
# also assigns the people to three parts (`fold`).

# %%
prepared = options.output_dir / "prepared"
print(report_text(prepare(read_custom(data_dir), prepared, num_proc=1)))

# %% [markdown]
# ## The detector to start from
#
# AUs that you did not code become missing labels (-100), which do not affect the loss. AUs that the detector does not
# have can't be added here; use `examples/train.py` to train a new detector for them.

# %%
start = options.model or hiva_hf.starter_checkpoint()
model = hiva_hf.HiVAForAUDetection.from_pretrained(start)
processor = AutoImageProcessor.from_pretrained(start)
known = model.config.au_labels
coded = [f"AU{number}" for number in hiva_hf.data.au_numbers("custom", prepared)]
if unknown := sorted(set(coded) - set(known)):
    sys.exit(f"The detector does not have {', '.join(unknown)}: remove these columns from the labels.")


# Positions of the coded AUs among those of the detector.
columns = [known.index(label) for label in coded]

# %% [markdown]
# ## Three groups of people
#
# One for training, one to choose thresholds, one for the test. Nobody is in two of them: otherwise the scores would be
# too good.


# %%
def load(split):
    return hiva_hf.load_au_dataset("custom", prepared, split=split, aus=[int(label[2:]) for label in known])


test = load("test")
others = concatenate_datasets([load("train"), load("validation")])
# People of part 0 are never tested, so they are trained on. A column `fold` of your own may lack part 2 or 3.
groups = [[0, 2], [3]] if {2, 3} <= set(others["fold"]) else None
if groups:
    train, choose = (others.filter(lambda fold, parts=parts: fold in parts, input_columns="fold") for parts in groups)
else:
    train, choose = load("train"), load("validation")
for name, faces in (("Train", train), ("choose", choose), ("test", test)):
    print(f"{name} on {len(faces)} faces of {len(set(faces['subject']))} people")

# %% [markdown]
# ## Before
#
# The detector with its own thresholds, and with those that fit this lab's labels best, which needs no training at all.
# Always look at these scores first.


# %%
def predict(detector, faces):
    """Probabilities of the AUs that were coded, `[faces, AUs]`."""
    results = detector(faces["image"], detect_faces=False, batch_size=16)
    return np.array([[au["score"] for au in face["aus"]] for (face,) in results])[:, columns]


def labels_of(faces):
    return np.array(faces["labels"])[:, columns]


def best_thresholds(detector):
    return tune_thresholds(labels_of(choose), predict(detector, choose), coded)


detector = pipeline("au-detection", model=model, image_processor=processor)
probabilities = predict(detector, test)
own = np.array(model.config.label_thresholds or [0.5] * len(known))[columns]
scores = {
    "as it comes": compute_au_metrics(labels_of(test), probabilities, coded, own),
    "my thresholds": compute_au_metrics(labels_of(test), probabilities, coded, best_thresholds(detector)),
}

# %% [markdown]
# ## Train
#
# With few labels, the large pretrained parts are frozen: the vision tower, and the descriptions, which a checkpoint
# like the starter contains in encoded form. The layers after them are trained with transformers' `Trainer`.

# %%
freeze_backbone(model, 0)
trainer = Trainer(
    model,
    TrainingArguments(
        output_dir=options.output_dir / "trainer",
        num_train_epochs=options.epochs,
        learning_rate=options.learning_rate,
        per_device_train_batch_size=8,
        warmup_steps=0.1,
        lr_scheduler_type="cosine",
        logging_strategy="epoch",
        save_strategy="no",
        report_to="none",
    ),
    train_dataset=AugmentedFaces(train, FaceAugmentation(processor), seed=0),
)
trainer.train()

# %% [markdown]
# ## Save
#
# With new thresholds, since the old ones belong to the old probabilities. AUs that you did not code were not checked
# after this training: they are marked as experimental, with a threshold of 0.5.

# %%
detector = pipeline("au-detection", model=model, image_processor=processor)
thresholds = np.full(len(known), 0.5)
thresholds[columns] = best_thresholds(detector).round(3)
model.config.label_thresholds = thresholds.tolist()
model.config.experimental_labels = [label for label in known if label not in coded]
model.save_pretrained(options.output_dir)
processor.save_pretrained(options.output_dir)

# %% [markdown]
# ## After
#
# The scores of the saved detector. ROC-AUC is the probability that a face with the AU gets a higher score than one
# without it. F1 also depends on the thresholds, and those chosen on ten people are rough: it may lag behind. If new
# thresholds alone do as well as training, use only these. A small difference on few people may be chance: test on all
# three parts, and report an interval over people (`hiva_hf.evaluation.bootstrap`).

# %%
detector = pipeline("au-detection", model=str(options.output_dir))
probabilities = predict(detector, test)
scores["fine-tuned"] = compute_au_metrics(labels_of(test), probabilities, coded, thresholds[columns])

table = pd.DataFrame(index=coded)
table["faces with it"] = [float(scores["fine-tuned"][f"support_{label}"]) for label in coded]
for metric, name in (("f1", "F1"), ("roc_auc", "ROC-AUC")):
    for variant, values in scores.items():
        table[f"{name}, {variant}"] = [values[f"{metric}_{label}"] for label in coded]
table.loc["Mean"] = table.mean()
table.to_csv(options.output_dir / "scores.csv")
print(table.T.to_string(float_format="{:.2f}".format))
print(f'Read photos with it: pipeline("au-detection", model="{options.output_dir}")')
