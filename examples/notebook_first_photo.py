# %% [markdown]
# # A first photo
#
# One photo in, the facial Action Units (AUs) of every face in it out. An AU is a movement that can be seen, such as
# AU12, the lip corners pulled up; it is not a feeling.
#
# Run it cell by cell in VS Code or Jupyter (with Jupytext), or as a whole: `python examples/notebook_first_photo.py
# --photo mine.jpg`. It needs `pip install ".[train]"`.

# %%
import argparse
import sys
from pathlib import Path

import pandas as pd
from PIL import Image
from skimage import data
from transformers import pipeline

import hiva_hf


parser = argparse.ArgumentParser(description="Read the Action Units of one photo.")
parser.add_argument("--photo", help="default: the astronaut Eileen Collins (NASA, public domain)")
parser.add_argument("--model", help="folder or Hub id of a detector; default: the starter in the package")
parser.add_argument("--output_dir", type=Path, default=Path("hiva-first-photo"), help="default: %(default)s")
# A notebook has no command line: change the defaults here.
options = parser.parse_args([] if "ipykernel" in sys.modules else None)
options.output_dir.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## Read it
#
# `pipeline("au-detection")` loads a detector: the starter that comes with the package, or your own. It finds the
# faces, the largest first, turns each upright and reads it. With `return_attention=True` it also tells where it
# looked.

# %%
photo = hiva_hf.load_image(options.photo) if options.photo else Image.fromarray(data.astronaut())
detector = pipeline("au-detection", model=options.model)
faces = detector(photo, return_attention=True)
if not faces:
    sys.exit("There is no face in this photo: try another one.")

face = faces[0]
print(f"{len(faces)} face(s). The largest is at {face['box']}; the face detector's confidence is {face['score']:.2f}.")

# %% [markdown]
# ## The result
#
# Each AU has a `score`, the probability that it is there, and is `active` if that reaches the checkpoint's threshold
# for this AU. A probability is no intensity: .9 means "quite surely there", not "strongly".

# %%
aus = pd.DataFrame(face["aus"]).sort_values("score", ascending=False)
aus.to_csv(options.output_dir / "aus.csv", index=False)
print(aus.to_string(index=False, float_format="{:.2f}".format))

# %% [markdown]
# ## What "experimental" means
#
# The starter learned from rendered faces, and not every AU survives the step to photos. Those whose probabilities did
# not go along with another program's measurements on real photos are marked `experimental`: leave them out of
# anything you conclude. That the others are not marked does not make them a measuring instrument either. Compare with
# faces that you have coded yourself before you rely on a number (`notebook_fine_tune.py` shows how).

# %%
experimental = aus.loc[aus["experimental"], "label"].tolist()
print("Experimental in this checkpoint:", ", ".join(experimental) or "none is marked")

# %% [markdown]
# ## Pictures
#
# All faces with their AUs. Experimental ones have a dagger and a hollow bar.

# %%
hiva_hf.draw_faces(photo, faces, options.output_dir / "faces.png", attention=False)
Image.open(options.output_dir / "faces.png")

# %% [markdown]
# Where the descriptions of the four most probable AUs looked: in each pair, left on the AU's own feature map (DDCA),
# right on that of the whole face (CDCA). A face that stays grey was looked at evenly. A map tells what the network
# used, not where a muscle moved: in the starter several AUs look at the same few spots. Of detectors without these
# maps, such as VL-FAU, the picture has what they have.

# %%
strongest = aus["label"].head(4).tolist()
if {"ddca_attention", "cdca_attention"} & face.keys():
    hiva_hf.draw_attention(photo, face, strongest, options.output_dir / "attention.png")
else:
    hiva_hf.draw_faces(photo, [face], options.output_dir / "attention.png")
print(f"Table and pictures are in {options.output_dir}.")
Image.open(options.output_dir / "attention.png")
