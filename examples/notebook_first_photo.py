# %% [markdown]
# # A first photo
#
# From one photo to the facial Action Units (AUs) of every face in it. An AU is a visible movement, such as AU12, the
# lip corners pulled up; it is not a feeling.
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


parser = argparse.ArgumentParser(description="Detect the Action Units in one photo.")
parser.add_argument("--photo", help="default: the astronaut Eileen Collins (NASA, public domain)")
parser.add_argument("--model", help="folder or Hub id of a detector; default: the starter in the package")
parser.add_argument("--output_dir", type=Path, default=Path("hiva-first-photo"), help="default: %(default)s")
# A notebook has no command line: change the defaults here.
options = parser.parse_args([] if "ipykernel" in sys.modules else None)
options.output_dir.mkdir(parents=True, exist_ok=True)

# %% [markdown]
# ## Read it
#
# `pipeline("au-detection")` loads a detector: the packaged starter, or your own. It finds the faces, the largest
# first, aligns each and detects its AUs. With `return_attention=True` it also returns attention maps.

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
# Each AU has a `score`, the probability that it is present, and is `active` if this reaches the checkpoint's threshold
# for this AU. A probability is no intensity: .9 means "almost certainly present", not "strong".

# %%
aus = pd.DataFrame(face["aus"]).sort_values("score", ascending=False)
aus.to_csv(options.output_dir / "aus.csv", index=False)
print(aus.to_string(index=False, float_format="{:.2f}".format))

# %% [markdown]
# ## What "experimental" means
#
# The starter was trained on rendered faces, and not every AU transfers to photos. AUs whose probabilities did not
# correlate with another program's measurements on real photos are marked `experimental`: draw no conclusions from
# them. The others are not validated measurements either: before you rely on a number, compare with faces that you have
# coded yourself (`notebook_fine_tune.py` shows how).

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
# Attention of the descriptions of the four most probable AUs: in each pair, left to the AU's own feature map (DDCA),
# right to that of the whole face (CDCA). A face without colours means evenly spread attention. A map shows what the
# network used, not where a muscle moved: in the starter, several AUs attend to the same few spots. For detectors
# without these maps, such as VL-FAU, the picture shows the maps that they have.

# %%
strongest = aus["label"].head(4).tolist()
if {"ddca_attention", "cdca_attention"} & face.keys():
    hiva_hf.draw_attention(photo, face, strongest, options.output_dir / "attention.png")
else:
    hiva_hf.draw_faces(photo, [face], options.output_dir / "attention.png")
print(f"Table and pictures are in {options.output_dir}.")
Image.open(options.output_dir / "attention.png")
