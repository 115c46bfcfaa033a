# Copyright 2026 The hiva-hf authors.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What each facial action looks like, in sentences written for this project.

The sentences feed the text encoder: evaluation and inference read the canonical one, training draws one variant per
Action Unit and step. So every sentence has to work alone: it names the place on the face and what happens there, and
it fits one Action Unit only. None of them contains an Action Unit number, a word for an emotion, or text from the FACS
manual. Keep to that when adding one; `tests/test_facs.py` checks what a word list can check.
"""

from typing import NamedTuple


class AUDescriptions(NamedTuple):
    """The sentences of one Action Unit.

    Attributes:
        canonical: The sentence used in evaluation and inference.
        variants: Sentences that say the same in other words, used as text augmentation in training.
    """

    canonical: str
    variants: tuple[str, ...]


AU_DESCRIPTIONS: dict[int, AUDescriptions] = {
    1: AUDescriptions(
        canonical="The inner ends of the eyebrows are pulled upward, wrinkling the middle of the forehead.",
        variants=(
            "Near the root of the nose the brows climb, so that each eyebrow slants down toward the temple.",
            "The medial frontalis lifts the inner third of the brows and furrows the center of the forehead.",
            "Both eyebrows tilt like the two sides of a peaked roof, because their inner corners rise.",
            "In the center of the forehead the skin bunches into short creases as the innermost brow goes up.",
            "The brow heads are raised, and the eyebrows slope upward from the temples to the midline.",
            "Look at the inner corners of the eyebrows: they have moved up, toward the middle of the hairline.",
            "Only the part of the brow closest to the nose is hoisted, so the eyebrows stand obliquely.",
            "An upward drag on the central forehead raises the inner brow ends above the root of the nose.",
            "With the medial brow lifted, skin over the inside corner of each eye is drawn into a triangle.",
            "What rises here is the central end of each eyebrow, creasing the forehead in its middle.",
        ),
    ),
    2: AUDescriptions(
        canonical="The outer part of each eyebrow is pulled up, arching the brow and creasing the skin above it.",
        variants=(
            "Toward the temples the brows rise, and curved lines appear on the sides of the forehead.",
            "The lateral frontalis lifts the brow tails and stretches the skin over the outer corners of the eyes.",
            "Each eyebrow bends into a steep arch because its outer third rises.",
            "Wrinkles stack up over the outer ends of the eyebrows as the lateral brow is hoisted.",
            "The tail of the brow, the end nearest the ear, moves upward and takes the lid skin along.",
            "Raised at their outer sides, the eyebrows sweep up like spread wings.",
            "Look above the outer eye corners: the brow there has climbed and the lateral forehead is furrowed.",
            "Seen from the front, the eyebrows slope upward from nose to temple, their outer halves being raised.",
            "A lift of the lateral brow uncovers the outer eyelid and bows the eyebrow toward the hairline.",
            "The forehead creases at its sides, above the eyebrow tails, which are being drawn up.",
        ),
    ),
    4: AUDescriptions(
        canonical="The eyebrows are lowered and drawn together, and vertical creases appear between them.",
        variants=(
            "Pulled down and toward each other, the brows crowd the inner corners of the eyes.",
            "The corrugators squeeze the eyebrows toward the midline, cutting upright furrows between them.",
            "The space between the eyebrows shrinks, and the skin there bunches into steep vertical lines.",
            "A heavy, knitted brow descends over the eyes and casts a shadow on the upper lids.",
            "Knitting of the eyebrows: they sink, approach each other and pinch the skin of the glabella.",
            "Look between the eyebrows for an upright fold, made as the brows sink and converge.",
            "The brow line drops and contracts toward its center, so the eyebrows sit close above the eyes.",
            "Depression of the whole brow brings the eyebrows nearer to the lashes and to one another.",
            "With the brows dragged down and inward, the glabella wrinkles into a thick vertical bulge.",
            "Both eyebrows move downward and inward, as if to shade the eyes from glaring light.",
        ),
    ),
    5: AUDescriptions(
        canonical="The upper eyelids are raised, so that the eyes open wider and white shows above the iris.",
        variants=(
            "Retracted upper lids widen the eye opening and uncover the top of the iris.",
            "A band of white becomes visible between the iris and the lifted upper eyelid.",
            "The levator palpebrae draws the upper lid back into the socket until the eyes stare wide.",
            "The eyes are opened beyond their usual width by pulling the upper eyelids upward.",
            "More of the eyeball is exposed from above, since the upper lashes move up and the lid folds away.",
            "Wide-open eyes: the margin of the upper lid rises clear of the colored iris.",
            "Look at the top edge of the iris, from which the upper eyelid has been lifted away.",
            "The eyeballs seem to bulge because the upper lids are hoisted high above the pupils.",
            "Elevation of the upper eyelid enlarges the gap between the lids and makes the gaze staring.",
            "Upper lids go up and almost vanish into their fold, leaving the eyes round and wide.",
        ),
    ),
    6: AUDescriptions(
        canonical="The cheeks are lifted toward the eyes, and crow's feet spread from the outer eye corners.",
        variants=(
            "The outer ring of muscle around the eye contracts and draws the cheek up toward the lower lid.",
            "Raised cheeks push up the skin below the eyes, forming pouches and lines that ray out to the sides.",
            "Fan-shaped wrinkles appear beside the eyes while the tops of the cheeks swell upward.",
            "Skin from cheeks and temples is pulled in toward the eyes, which creases frame from the sides.",
            "High, rounded cheeks crowd the eyes from below and deepen the furrow beneath the lower lid.",
            "The orbital part of orbicularis oculi hoists the cheek and bags the skin beneath the eye.",
            "Look for lifted cheek flesh, with lines raying out from the corner of the eye toward the ear.",
            "The cheeks lift and swell, so that a curved furrow runs below each eye.",
            "Cheek tissue rises like a cushion under the eyes and wrinkles the skin at their outer edges.",
            "Crow's feet deepen and the upper cheek mounds as skin around the eye socket is drawn inward.",
        ),
    ),
    7: AUDescriptions(
        canonical="The eyelids tighten and the lower lid rises and straightens, narrowing the eye opening.",
        variants=(
            "Tensed eyelids close in on the iris, the lower one pushed up and flattened.",
            "The lower eyelid is drawn taut and upward until it covers the bottom of the iris.",
            "The eyes narrow because the rims of both lids are tightened around the eyeball.",
            "The palpebral part of orbicularis oculi tenses, straightening the curve of the lower lid.",
            "A tightened lower eyelid bulges slightly as it moves toward the pupil.",
            "The gap between the tense lids shrinks, as when someone strains to read small print.",
            "Look at the lower lid: its margin is pulled tight and lies as a straight line on the eye.",
            "Squeezed from below, the eyes look hard and narrow, with the lower lids stiff and raised.",
            "Tension runs through the eyelids, which draw closer while the gaze still shows between them.",
            "Narrowed eyes with firm lids: the lower lash line lifts and tightens.",
        ),
    ),
    9: AUDescriptions(
        canonical="The nose is wrinkled: skin along its sides is pulled up, forming creases across the bridge.",
        variants=(
            "Diagonal folds run along the sides of the nose while the nostril wings are lifted.",
            "The skin of the nose bunches upward between the eyes, as at a foul smell.",
            "Levator labii superioris alaeque nasi draws up the nostril wings and crinkles the nasal bridge.",
            "Crinkles gather on the bridge of the nose as its sides are dragged upward.",
            "A scrunched nose shows ridges near the inner eye corners and raised wings around the nostrils.",
            "Look at the nasal bridge for fans of fine lines, made by skin shoved up from beside the nostrils.",
            "The nostril wings climb, the nose looks shorter, and its root is crossed by wrinkles.",
            "Skin beside the nose is hauled toward the inner eye corners, wrinkling the bridge on its way.",
            "Wrinkling of the nose lifts its wings and folds the skin over the nasal bone.",
            "Furrows cross the upper nose, since the flesh around the nostrils is being pulled up to its root.",
        ),
    ),
    10: AUDescriptions(
        canonical="The center of the upper lip is pulled straight up, bending its outline and baring the upper teeth.",
        variants=(
            "Drawn upward below the nostrils, the upper lip curls and uncovers the upper front teeth.",
            "Levator labii superioris hoists the upper lip and pouches the skin next to each nostril wing.",
            "The red edge of the upper lip rises toward the nose and takes on a square, bent outline.",
            "The distance between the nose and the mouth shrinks as the upper lip is lifted.",
            "The upper lip lifts on both sides of its midline, and the crease by the nostrils bows into an arch.",
            "Raising of the upper lip: its middle moves up more than its ends, and the upper gums may show.",
            "Look below the nose, where the upper lip has been tugged up so that it bulges outward.",
            "The upper teeth are bared by an upper lip that peels toward the nostrils.",
            "An upward pull from under the eye sockets bends the upper lip and plumps the skin beside the nose.",
            "Upper lip elevated and slightly curled at the center of the mouth, with the philtrum shortened.",
        ),
    ),
    11: AUDescriptions(
        canonical="The furrow from nose to mouth corner deepens halfway down, the upper lip tugged slightly outward.",
        variants=(
            "Zygomaticus minor tugs on the upper lip, carving the nasolabial fold deeper along its middle.",
            "Halfway between nostril and mouth corner the nasolabial line sharpens and sinks into the skin.",
            "A slanting tug on the side of the upper lip deepens the nasolabial crease bordering the cheek.",
            "The crease parting cheek from upper lip deepens into a distinct trench, above all midway along it.",
            "The side of the upper lip shifts slightly up and out, and the nasolabial furrow above it deepens.",
            "Look for a deepened groove between cheek and lip: the nasolabial furrow is etched into the skin.",
            "Skin beside the upper lip is gathered toward the cheekbone, which deepens the nasolabial fold.",
            "The nasolabial furrow darkens and stands out as the lip beside it is drawn lightly aside.",
            "Deepening of the fold that runs from nose to mouth, cut in by an oblique tug on the upper lip.",
            "Between nose wing and mouth corner the skin sinks in, making the nasolabial groove steeper.",
        ),
    ),
    12: AUDescriptions(
        canonical="The lip corners are pulled back and up toward the cheekbones, bending the mouth into a curve.",
        variants=(
            "Zygomaticus major draws the corners of the mouth obliquely upward, and the cheeks bulge.",
            "The mouth widens and bends upward at both ends, like a shallow bowl.",
            "The corners of the lips travel up and outward while the mouth broadens into a curve.",
            "A slanting pull lifts the mouth corners and stretches the lips into an upward curve.",
            "The line of the mouth becomes a rising crescent, its ends raised toward the cheekbones.",
            "Look at the ends of the mouth: they have slid backward and upward, pushing up the cheeks.",
            "Both lip corners rise on a diagonal path, broadening the mouth and stretching the red of the lips.",
            "With the corners hauled upward and back, the lips spread over the teeth in a crescent.",
            "The cheeks fill out because the mouth corners are drawn up and aside toward them.",
            "A diagonal upward pull on the ends of the lips turns a level mouth into an upturned arc.",
        ),
    ),
    13: AUDescriptions(
        canonical="The lip corners are pulled sharply straight up into points, and the cheeks puff out above them.",
        variants=(
            "Levator anguli oris lifts the mouth corners vertically, so that they end in narrow, tucked points.",
            "Puffed cheeks sit above mouth corners that are pinched and drawn steeply toward the eyes.",
            "The ends of the lips turn up abruptly, forming small angular hooks below swollen cheeks.",
            "A vertical tug at the corners of the mouth makes the cheeks balloon just over them.",
            "The mouth corners rise steeply, at a right angle to the lips, and become thin and pointed.",
            "Look for cheeks that bulge like little balls over lip corners pulled sharply upright.",
            "Sharp, narrow lip corners are raised straight up, while the mouth keeps its width.",
            "The corners of the lips hitch up vertically beneath the pupils and the flesh above puffs outward.",
            "Steep lifting of the mouth corners squeezes them to a tip and puffs the cheek above.",
            "The skin above each mouth corner puffs up, as the corner itself is jerked straight upward.",
        ),
    ),
    14: AUDescriptions(
        canonical="The mouth corners are tightened and pulled inward, and a dimple appears beside them.",
        variants=(
            "The buccinator draws the lip corners in against the teeth, denting the cheek just outside the mouth.",
            "A hollow forms next to each corner of the mouth as the corner is drawn in.",
            "Pinched lip corners sink into the cheeks and leave curved creases around them.",
            "The ends of the mouth tuck into the face, and dimples mark the skin beside them.",
            "Skin on both sides of the mouth is bunched against the corners, which narrow and sink in.",
            "Look just outside the lip corners for a dent, with the corner itself tight and drawn in.",
            "Muscles inside the cheek pull each mouth corner inward, as if pinned into a small hole.",
            "Dimples at the mouth: the corners contract, and flesh swells around the little pits.",
            "Tightening at the corners of the lips digs a short curved wrinkle into the cheek beside the mouth.",
            "Both mouth corners are tucked in toward the molars, which dimples the cheek next to them.",
        ),
    ),
    15: AUDescriptions(
        canonical="The corners of the mouth are pulled down, so that the line of the lips bends downward at its ends.",
        variants=(
            "Depressor anguli oris drags the lip corners toward the lower edge of the face.",
            "The ends of the lips sag, and pouches or wrinkles gather below them.",
            "An upside-down curve shapes the mouth as its corners sink.",
            "The lip corners drop, and the lower lip is drawn taut between them.",
            "A downward pull at both ends of the mouth leaves its middle higher than its corners.",
            "Look at the ends of the mouth: they droop toward the floor, and the skin beneath them is wrinkled.",
            "The mouth turns down at its corners like the two ends of an arch.",
            "Depressed lip corners give the mouth an inverted bow and lines that run below it.",
            "Both ends of the mouth are lowered, and the crease beside each corner extends downward.",
            "The corners of the lips hang low, tugged by a muscle anchored on the side of the jawbone.",
        ),
    ),
    16: AUDescriptions(
        canonical="The lower lip is pulled down, stretching the skin of the chin and exposing the lower teeth.",
        variants=(
            "Depressor labii inferioris draws the lower lip downward and slightly to the sides.",
            "The bottom teeth come into view as the lower lip slides toward the chin.",
            "The lower lip is dragged off the bottom teeth, and its red border rolls toward the chin.",
            "Lower gums and bottom teeth are bared by a lower lip that has been hauled down.",
            "The chin flattens and smooths while the lower lip moves down over it.",
            "Look beneath the mouth: the lower lip has been pulled down and shows the teeth behind it.",
            "A straight downward tug on the lower lip widens it and reveals the row of bottom teeth.",
            "Lowering of the bottom lip leaves a space above it in which the lower front teeth are seen.",
            "The lower lip stretches downward until its red margin lies close to the chin.",
            "The edge of the lower lip sinks below the bottom teeth, pulling the skin of the chin smooth.",
        ),
    ),
    17: AUDescriptions(
        canonical="The chin is pushed upward, wrinkling its skin and driving the lower lip up.",
        variants=(
            "The mentalis lifts the chin boss and gives its skin the texture of an orange peel.",
            "Dents and bumps appear on the raised chin, and the lower lip juts forward over it.",
            "The chin shoves the lower lip up from below, and the mouth takes the shape of a low arch.",
            "The skin of the chin crumples as it moves up toward the lip.",
            "A cobbled, bunched chin rises below the mouth and makes the lower lip protrude.",
            "Look at the chin: its pad has climbed, and pits like those of a peach stone cover it.",
            "Chin flesh forces the lower lip upward, bending the middle of the mouth line.",
            "Raised from below by the chin, the lower lip swells outward above a deep crease.",
            "The boss of the chin contracts into a wrinkled ball and hoists the lower lip.",
            "Upward movement of the chin shortens the space below the lower lip and roughens the skin there.",
        ),
    ),
    18: AUDescriptions(
        canonical="The lips are puckered: drawn together toward the middle and pushed forward, small and round.",
        variants=(
            "The mouth contracts into a small round knot, with fine lines running into the red of the lips.",
            "Incisive muscles pull the mouth corners toward the midline, and the lips protrude.",
            "As if to kiss, the lips gather to a point and stick out.",
            "The mouth narrows from side to side while the lips purse and jut ahead.",
            "Pursed, wrinkled lips project from the face as the mouth corners move inward.",
            "Look for a mouth much shorter in width, its lips thrust out in a wrinkled bud.",
            "The corners of the mouth approach each other and squeeze the lips into a protruding rosette.",
            "Puckering shortens the mouth and crowds the lips with vertical wrinkles.",
            "As in whistling, the lips bunch forward at the center and the mouth loses much of its width.",
            "Like a bag closed by a drawstring, the mouth gathers to its center and both lips jut out.",
        ),
    ),
    20: AUDescriptions(
        canonical="The lips are stretched sideways, their corners pulled straight back toward the ears.",
        variants=(
            "Risorius draws the mouth corners horizontally outward, and the lips flatten into a wide band.",
            "The mouth lengthens to both sides and the lips are thinned by the lateral pull.",
            "A level backward pull at the lip corners elongates the mouth and stretches the skin beside it.",
            "The corners of the mouth move apart on a horizontal line, as if hauled toward the earlobes.",
            "The mouth is spread wide and flat, and the skin beside the lips folds where it is shoved back.",
            "Look for lips drawn out along a level line, their corners stretched far apart.",
            "Sideways stretching turns the mouth into a long slot and tautens the skin around it.",
            "Both ends of the mouth are tugged laterally by the platysma, and cords may rise in the neck.",
            "The lips pull straight outward to the sides until they look like a strained elastic strip.",
            "Horizontal traction on the lip corners broadens the mouth and levels the curves of the lips.",
        ),
    ),
    22: AUDescriptions(
        canonical="The lips are funneled: they flare outward in an open ring and turn out their inner surface.",
        variants=(
            "Both lips roll outward and forward, shaping the mouth like the bell of a trumpet.",
            "The orbicularis oris pushes the lip edges off the teeth, so that the mouth forms a flaring tube.",
            "The mouth juts out as an open funnel, its moist inner lip surfaces exposed.",
            "As for a long hushing sound, the mouth thrusts out its lips in a flared square.",
            "The rims of the lips flare away from the gums, and teeth are glimpsed through the tube they make.",
            "Look for lips that turn inside out a little and stand off from the teeth like a funnel.",
            "Everted lips extend from the face in a hollow ring, and more of their red shows than usual.",
            "The lips peel outward all around the mouth, widening into a cone.",
            "Flaring of the lips makes the mouth a cone pointing ahead, with the front teeth inside it.",
            "Upper and lower lip curl outward, away from each other, and form a spout-shaped mouth.",
        ),
    ),
    23: AUDescriptions(
        canonical="The lips are tightened, so that their red parts become narrow, hard and rolled slightly inward.",
        variants=(
            "The red of the lips narrows to a thin tense strip, ringed by fine wrinkles.",
            "Orbicularis oris contracts within the lips, hardening them and narrowing the visible vermilion.",
            "Tension in the lips makes them slim, and short lines appear around their edges.",
            "The lips grow thin and stiff as their red borders contract.",
            "Tightened lip margins hide part of the red and make the mouth look lean and firm.",
            "Look at the vermilion borders: the lips have tightened and only narrow ribbons of red remain.",
            "The mouth hardens; each lip is tensed within itself until its colored part is slender.",
            "Rolled a little inward by their own tension, the lips show less red and look rigid.",
            "A tight ring of muscle tenses both lips, thinning their red edges and bulging the skin beside them.",
            "Narrow, hardened lips: the vermilion tightens, and the skin around it is drawn into small creases.",
        ),
    ),
    24: AUDescriptions(
        canonical="The lips are pressed firmly together, bulging the skin above and below the closed mouth.",
        variants=(
            "Upper and lower lip squeeze against each other and shut the mouth hard.",
            "The mouth becomes a flat line where the lips are clamped together.",
            "Pressure of one lip on the other pushes out the skin around the mouth and pales the red.",
            "The closed lips push against each other, as when blotting lipstick.",
            "Clamped lips flatten at their meeting line, and small bulges rise over and under them.",
            "Look at the seam of the mouth: the lips bear on each other so strongly that they flatten.",
            "The orbicularis oris forces the lips into close contact, sealing the mouth under pressure.",
            "The lips are jammed shut against each other, and the mouth line is straight and compressed.",
            "Pressing its lips together, the face seals the mouth and squashes the lip flesh where it meets.",
            "The seam between the lips is squeezed shut, with swelling above the upper and beneath the lower lip.",
        ),
    ),
    25: AUDescriptions(
        canonical="The lips are parted, leaving a small gap in which the edges of the teeth may show.",
        variants=(
            "A narrow opening separates the upper lip from the lower one.",
            "The lips move apart slightly, and the edges of the teeth can be glimpsed between them.",
            "The mouth is ajar: contact between upper and lower lip has been released.",
            "Loosened lips fall a little away from each other, opening the mouth line.",
            "Where the lips used to meet, a slender dark space opens.",
            "Look along the line between the lips; they have separated, and light falls on the teeth.",
            "The seal of the mouth is broken as the lips drift a little apart.",
            "Relaxation of the muscle that holds the mouth shut lets the lips separate slightly.",
            "Parted lips reveal a thin gap along the line of the mouth.",
            "The two lips move away from one another by a little, uncovering the rim of the mouth inside.",
        ),
    ),
    26: AUDescriptions(
        canonical="The jaw drops in a relaxed way, so that the teeth separate and the chin moves down.",
        variants=(
            "The lower jaw falls loosely, and a space opens between the upper and lower teeth.",
            "The chin sinks as the jaw slackens, moderately lengthening the lower face.",
            "With the chewing muscles relaxed, the mandible hangs and the rows of teeth come apart.",
            "A slack jaw hangs down and lets the chin sink toward the neck.",
            "The mandible lowers by its own weight, as in someone dozing upright.",
            "Look at the distance from chin to nose: it has grown because the jaw has fallen limp.",
            "The jaw unclenches and sags, so that the back teeth lose contact.",
            "Easy lowering of the jaw carries the chin and the lower teeth downward together.",
            "The mandible swings down on its hinge without strain and hangs there loosely.",
            "Loose and heavy, the lower jaw drops away from the upper teeth.",
        ),
    ),
    27: AUDescriptions(
        canonical="The mouth is stretched wide open, with the jaw pulled far down and the cheeks drawn long and flat.",
        variants=(
            "The jaw is forced down as far as it goes, and the mouth gapes in a tall oval.",
            "As in a great yawn, the mouth stretches open and the lower face lengthens.",
            "The pterygoids and the digastric haul the mandible down until the mouth is a deep open hollow.",
            "The mouth opens to its limit, pulling the cheeks flat and the skin over the jaw taut.",
            "A cavernous mouth shows tongue and throat, the jaw being actively driven downward.",
            "Look for a mouth opened to a long oval, taller than it is wide, with the cheeks stretched thin.",
            "The lips are spread far apart by a jaw lowered to its fullest, and the mouth is a great oval.",
            "Extreme opening of the mouth elongates the whole face and hollows the cheeks.",
            "Like a singer on a loud high note, the mouth is flung open and the chin pulled toward the chest.",
            "The mouth yawns, vast and tall, as the jaw is dragged downward.",
        ),
    ),
    28: AUDescriptions(
        canonical="The lips are sucked into the mouth and wrapped over the teeth until they vanish from sight.",
        variants=(
            "Both lips curl inward around the teeth and disappear into the mouth.",
            "The red of the lips is lost inside the mouth, and the skin around it is stretched.",
            "Drawn in over the teeth, the lips leave only a line where the mouth was.",
            "The mouth swallows its own lips, dragging in the skin from under the nose and above the chin.",
            "Both rows of teeth are wrapped in the lips, which are tucked inside the mouth.",
            "Look for a mouth whose vermilion has gone, pulled inside behind stretched skin.",
            "Sucking draws the lips inside until all of their red is hidden.",
            "The lips fold back into the oral cavity and cover the edges of the teeth.",
            "As in a toothless mouth, the lips roll in and the skin above and below is dragged after them.",
            "Inward rolling hides the lips within the mouth, smoothing the skin that borders it.",
        ),
    ),
    43: AUDescriptions(
        canonical="The eyes are closed and stay closed, the relaxed upper eyelids resting on the lower ones.",
        variants=(
            "The upper lids have come down fully and cover the eyeballs for a while.",
            "Shut eyes: the lashes of both lids rest together and the iris stays hidden.",
            "As in sleep, the eyelids remain shut over the eyes.",
            "The eyes have been sealed by lowered upper eyelids, which keep still.",
            "The levator of the upper lid relaxes, letting it sink over the whole eye and remain there.",
            "Look at the eyes: iris and white are covered by the lasting curtain of the lids.",
            "Lowered lids cover the eyes entirely and stay at rest.",
            "A single curved line of lashes replaces each eye, since the lids are kept shut.",
            "The eyes are kept shut, the smooth upper eyelid touching the lower for longer than a moment.",
            "Sustained eye closure: the upper lid sinks over the eyeball and rests on the lower lash line.",
        ),
    ),
    45: AUDescriptions(
        canonical="The eyes blink: the eyelids close for a fraction of a second and open again.",
        variants=(
            "The upper lids drop and spring back up in one quick flutter.",
            "A momentary closure, over almost before it is noticed, sweeps the lids across the eyeballs.",
            "The eyelids snap to and reopen, covering the pupils only for an instant.",
            "The lids meet briefly, wiping the eye, then separate at once.",
            "A swift sweep of the upper eyelid, down and up, interrupts the gaze for an instant.",
            "Look for lids caught on their way down or up in a rapid, passing closure of the eyes.",
            "Orbicularis oculi closes the lids in a flash, and the levator lifts them again.",
            "The gaze is cut off for a split second as both eyelids shut and rebound.",
            "The lashes dip and rise again so fast that the eyes seem hardly to have closed.",
            "In a short reflex movement the eyelids cover the eyes and immediately uncover them.",
        ),
    ),
}
