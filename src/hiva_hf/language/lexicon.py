"""What the descriptions of an Action Unit are made of, and the words that tell it from others.

One entry for each Action Unit: slots that [`grammar`] puts together, and cues that [`validation`] looks for. All words
are this project's own; the muscles follow the catalogue in `hiva_hf.facs`.
"""

from dataclasses import dataclass

from ..facs import Region


@dataclass(frozen=True)
class NounPhrase:
    """A place on the face, for example "the lip corners"."""

    text: str
    is_plural: bool

    @property
    def be(self) -> str:
        return "are" if self.is_plural else "is"

    @property
    def pronoun(self) -> str:
        return "they" if self.is_plural else "it"


@dataclass(frozen=True)
class AULexicon:
    """The slots of one Action Unit.

    Attributes:
        regions: What moves.
        verbs: Participles that say how, for example "pulled"; `THIRD_PERSON` has their other form.
        directions: Where to, or in which way; each goes with each verb.
        muscles: What moves it, as the subject of a sentence in the singular.
        appearances: What one then sees, as clauses.
        negations: What one sees when nothing moves, as clauses without a comma; each has a word of `NEGATION`.
        relations: Numbers of Action Units that may be seen or not seen beside this one: a description may add one of
            their negations ("while the lip corners stay level").
        own_cues: Pattern that sets the Action Unit apart inside its region; a description has to match it.
        unique_cues: Pattern that belongs to this Action Unit alone; no description of another may match it.
        confusing_cues: Pattern that would make a description fit a neighbour just as well; it must not match.
    """

    regions: tuple[NounPhrase, ...]
    verbs: tuple[str, ...]
    directions: tuple[str, ...]
    muscles: tuple[str, ...]
    appearances: tuple[str, ...]
    negations: tuple[str, ...]
    relations: tuple[int, ...]
    own_cues: str
    unique_cues: str
    confusing_cues: str


def _many(*texts: str) -> tuple[NounPhrase, ...]:
    return tuple(NounPhrase(text, is_plural=True) for text in texts)


def _one(*texts: str) -> tuple[NounPhrase, ...]:
    return tuple(NounPhrase(text, is_plural=False) for text in texts)


THIRD_PERSON: dict[str, str] = {
    "accentuated": "accentuates",
    "bunched": "bunches",
    "clamped": "clamps",
    "closed": "closes",
    "covered": "covers",
    "crowded": "crowds",
    "curled": "curls",
    "darkened": "darkens",
    "deepened": "deepens",
    "dragged": "drags",
    "drawn": "draws",
    "dropped": "drops",
    "eased": "eases",
    "extended": "extends",
    "flared": "flares",
    "flung": "flings",
    "forced": "forces",
    "gathered": "gathers",
    "hardened": "hardens",
    "hauled": "hauls",
    "hidden": "hides",
    "hitched": "hitches",
    "hoisted": "hoists",
    "jammed": "jams",
    "jerked": "jerks",
    "lifted": "lifts",
    "lowered": "lowers",
    "masked": "masks",
    "narrowed": "narrows",
    "opened": "opens",
    "parted": "parts",
    "pinched": "pinches",
    "pressed": "presses",
    "pulled": "pulls",
    "pushed": "pushes",
    "raised": "raises",
    "rolled": "rolls",
    "sealed": "seals",
    "separated": "separates",
    "sharpened": "sharpens",
    "shoved": "shoves",
    "shut": "shuts",
    "squeezed": "squeezes",
    "stretched": "stretches",
    "sucked": "sucks",
    "swept": "sweeps",
    "tensed": "tenses",
    "thinned": "thins",
    "tightened": "tightens",
    "tucked": "tucks",
    "tugged": "tugs",
    "turned": "turns",
    "veiled": "veils",
}
"""The third person of each participle that the slots use."""

REGION_WORDS: dict[Region, str] = {
    "brows": r"(eye)?brows?|forehead",
    "eyes": r"eyes?|eyelids?|eyeballs?|lids?|lashes|iris",
    "cheeks": r"cheeks?",
    "nose": r"nose|nasal|nostrils?",
    "mouth": r"mouth|lips?",
    "chin": r"chin",
    "jaw": r"jaw|mandible",
}
"""Pattern of the words that name a region; a description has to match that of its Action Unit."""

NEGATION = r"not|no|never|neither|none|nor|nothing|cannot|\w+n't"
"""Pattern of the words that turn a description into its opposite."""

STANDSTILL = r"stays?|keeps?|remains?|without"
"""Pattern of the words that, like those of `NEGATION`, say that something does not move."""

# Beginnings of the words that say what moves, and how; at least one has to stand in every description. Adjectives that
# look the same ("lower lip", "narrow") and the mere traces of an action (creases, wrinkles) don't count.
ACTION_STEMS: tuple[str, ...] = tuple(
    (
        "accentuat approach bending bends bent blink bow bows broadens buckl bulges bunch carving clamp climb "
        "closed closes closing closure come compress contact contract converg cover crinkl crowd crumpl curl cut "
        "cutting darken deepen depressed depression descend dimpling dip disappear drag draw drift driv droop "
        "drop ease elevat elongat etch evert expos exten fall flar flatten flick flung forc funnel gape gapes "
        "gather hang harden hardens haul heav hid hitch hoist jam jerk jut kept knit lengthen let lift lost "
        "lowered lowering lowers mask meet melt move narrowed narrowing narrows open opens parted parting parts peel "
        "pinch press protrud pucker puff pull purs push raise raising rays reach relax releas retract rise rises "
        "rising roll sag scrunch seal separat sharpen shift shorten shov shrink shut sink slack slid slip snap "
        "spread squash squeez steepen straighten strain stretch suck swallow sweep swell swept swing taut tensed "
        "tenses tensing tension thinn thins thrust tight tilt touch traction travel tuck tug turn unclench uncover "
        "vanish veil widen widening withdraw wrap wrapped wrinkling"
    ).split()
)
"""Beginnings of verbs of movement; a description has to have one of them."""

EMOTION_STEMS: tuple[str, ...] = tuple(
    (
        "afraid amus anger angr annoy anxi cheer contempt cry delight disgust displeas emotion fear frown "
        "frustrat glad grief grimac grin happ hostil irritat joy laugh mood nerv pain pout rage sad scare scowl "
        "shock smil smirk snarl sneer sorrow sulk surpris terr unhapp upset weep wince worr"
    ).split()
)
"""Beginnings of words for emotions, or for expressions that stand for one; a description must have none of them."""

LEXICON: dict[int, AULexicon] = {
    1: AULexicon(
        regions=_many("the inner ends of the eyebrows", "the inner brow ends", "the brow heads beside the nose")
        + _one("the inner third of each brow"),
        verbs=("raised", "lifted", "pulled", "drawn", "hoisted"),
        directions=("toward the hairline", "steeply upward", "up the middle of the forehead"),
        muscles=("the medial frontalis", "the inner part of the frontalis", "contraction of the medial frontalis"),
        appearances=(
            "short wrinkles cross the middle of the forehead",
            "the eyebrows slant like the sides of a roof",
            "the central forehead is creased",
            "each eyebrow stands oblique",
            "the skin above the nose bunches into furrows",
            "the brows slope away toward the temples",
        ),
        negations=(
            "the inner brow keeps its place",
            "the inner ends of the eyebrows stay low",
            "the middle of the forehead remains smooth",
        ),
        relations=(2, 4, 7),
        own_cues=r"inner(most)?|inside|medial|central|middle|root of the nose|closest to the nose|brow heads",
        unique_cues=r"(inner|innermost|medial|central) (\w+ ){0,3}(eye)?brows?|brow heads?|medial frontalis",
        confusing_cues=r"outer|lateral|tails?|lower(ed|s)?|together|converg\w*|sinks?|drops?|down and|slide down",
    ),
    2: AULexicon(
        regions=_many("the outer ends of the eyebrows", "the brow tails", "the outer halves of both brows")
        + _one("the outer third of each eyebrow"),
        verbs=("raised", "lifted", "pulled", "drawn", "hoisted"),
        directions=("high above the temples", "into a steep arch", "upward over the eye corners"),
        muscles=("the lateral frontalis", "the outer part of the frontalis", "contraction of the lateral frontalis"),
        appearances=(
            "the eyebrows bow toward the hairline",
            "curved wrinkles stack up at the sides of the forehead",
            "the sides of the forehead are furrowed",
            "the skin of the outer eyelid is stretched",
            "each eyebrow sweeps up like a wing",
            "the forehead creases above the temples",
        ),
        negations=(
            "the outer brow keeps its place",
            "the brow tails stay low",
            "the sides of the forehead remain smooth",
        ),
        relations=(1, 4, 7),
        own_cues=r"outer|lateral|tails?|temples?",
        unique_cues=r"(outer|lateral) (\w+ ){0,3}(eye)?brows?|brow tails?|tails? of (the|each) (eye)?brows?"
        r"|lateral frontalis",
        confusing_cues=r"inner|medial|innermost|lower(ed|s)?|together",
    ),
    4: AULexicon(
        regions=_many("the eyebrows", "both brows", "the brows") + _one("the whole brow", "the brow line"),
        verbs=("pulled", "dragged", "drawn", "pushed", "tugged"),
        directions=("down and inward", "down toward the nose", "downward over the eyes"),
        muscles=("the corrugator supercilii", "the procerus", "contraction of the corrugators"),
        appearances=(
            "vertical creases cut the skin between the eyebrows",
            "the glabella bunches into folds",
            "a shadow falls on the eyes",
            "the gap between the eyebrows shrinks",
            "the lashes are crowded from above",
            "the skin over the root of the nose is pinched",
        ),
        negations=(
            "the brows keep their distance",
            "the brow stays relaxed",
            "the skin between the eyebrows remains smooth",
        ),
        relations=(5, 9, 25),
        own_cues=r"lower(ed|ing)|down\w*|descend\w*|midline|between the (eye)?brows|sink(s|ing)?|drops?|depression",
        unique_cues=r"knit\w*|corrugators?|glabella|between the (eye)?brows|lowered (eye)?brows?",
        confusing_cues=r"rais\w+|lift\w*|arch\w*|upward|hoist\w*",
    ),
    5: AULexicon(
        regions=_many("the upper eyelids", "both upper lids", "the margins of the upper lids")
        + _one("the upper lid of each eye"),
        verbs=("raised", "lifted", "hoisted", "pulled", "drawn"),
        directions=("upward off the iris", "upward into the fold", "upward beyond the usual height"),
        muscles=("the levator palpebrae", "the superior tarsal muscle", "contraction of the levator palpebrae"),
        appearances=(
            "white shows above the iris",
            "the eyes open wide",
            "the gaze becomes staring",
            "more of the eyeball is exposed",
            "the eyes look large and round",
            "the lashes stand high above the pupils",
        ),
        negations=(
            "the upper lids stay at their usual height",
            "the eyes keep their usual opening",
            "no white appears above the iris",
        ),
        relations=(2, 4, 25),
        own_cues=r"wid(e|er|en|ens|ening)|lift(ed|s)?|rise(s|n)?|rising|raised|hoisted|upward|uncover(s|ed)?|move up"
        r"|elevation|high(er)?",
        unique_cues=r"white (\w+ ){0,3}(shows?|appears?|visible)|wide-open eyes|stares?|staring|superior tarsal",
        confusing_cues=r"tight\w*|tens\w+|shut|clos\w+|narrow\w*|cheeks?|lower|nose|nasal",
    ),
    6: AULexicon(
        regions=_many("the cheeks", "both cheeks", "the tops of the cheeks", "the upper cheeks")
        + _one("the flesh of each cheek"),
        verbs=("lifted", "raised", "pushed", "drawn", "pulled"),
        directions=("toward the eyes", "up to the lower lids", "up against the eye sockets"),
        muscles=(
            "the orbital part of orbicularis oculi",
            "the outer ring of orbicularis oculi",
            "contraction around the eye sockets",
        ),
        appearances=(
            "crow's feet spread from the outer eye corners",
            "the skin below the eyes is pouched",
            "fan-shaped wrinkles run toward the temples",
            "creases frame the eyes from the sides",
            "the furrow beneath the lower lid deepens",
            "the skin beside the eyes gathers",
        ),
        negations=(
            "the cheeks stay low",
            "the skin beside the eyes remains smooth",
            "the cheeks keep away from the eyes",
        ),
        relations=(4, 9, 12),
        own_cues=r"cheeks?",
        unique_cues=r"crow's feet|(raised|lifted|lifting|raising) cheeks?|orbital part",
        confusing_cues=r"mouth|lips?|corners? of the lips",
    ),
    7: AULexicon(
        regions=_many("the eyelids", "the lower eyelids", "the lids of both eyes", "the rims of the lids")
        + _one("the lower lid of each eye"),
        verbs=("tightened", "tensed", "squeezed"),
        directions=("around the eyeballs", "against the eyes", "up to the rim of the iris", "over part of the iris"),
        muscles=(
            "the palpebral part of orbicularis oculi",
            "the inner ring of orbicularis oculi",
            "contraction within the eyelids",
        ),
        appearances=(
            "the eye openings narrow",
            "the line of the lower lid straightens",
            "the gap between the lids shrinks",
            "the bottom of the iris is covered",
            "the gaze looks strained",
            "the lower lid bulges slightly",
        ),
        negations=(
            "the eyelids stay relaxed",
            "the lower lids keep their curve",
            "the eye openings keep their width",
        ),
        relations=(1, 4, 6),
        own_cues=r"tight\w*|tens\w+|taut|squeez\w+|narrow\w*|firm\w*",
        unique_cues=r"(tight|tens)\w*( \w+){0,2} (eye)?lids?|(eye)?lids? (\w+ ){0,2}(tight|tens)\w*|narrowed eyes"
        r"|inner ring",
        confusing_cues=r"shut|closed|cheeks?|widen?|crow's",
    ),
    9: AULexicon(
        regions=_one("the skin along the nose", "the skin beside the nose", "the flesh around the nostrils")
        + _many("the sides of the nose", "the nostril wings"),
        verbs=("pulled", "drawn", "dragged", "hauled", "tugged"),
        directions=("up toward the inner eye corners", "up along the nasal bone", "up to the root of the nose"),
        muscles=(
            "levator labii superioris alaeque nasi",
            "the levator beside the nose",
            "contraction beside the nose",
        ),
        appearances=(
            "wrinkles cross the bridge of the nose",
            "folds run along the nasal bone",
            "the nose looks shorter",
            "creases gather between the eyes",
            "the nostrils look larger",
            "the root of the nose crinkles",
        ),
        negations=(
            "the nose stays smooth",
            "the bridge of the nose remains unwrinkled",
            "the nostril wings keep their place",
        ),
        relations=(4, 12, 25),
        own_cues=r"nose|nasal|nostrils?",
        unique_cues=r"wrinkl\w* nose|nose (\w+ ){0,2}wrinkl\w*|nasal bridge|bridge of the nose|scrunch\w*"
        r"|alaeque nasi",
        confusing_cues=r"lips?|cheeks?",
    ),
    10: AULexicon(
        regions=_one(
            "the upper lip",
            "the center of the upper lip",
            "the red edge of the upper lip",
            "the middle of the upper lip",
        ),
        verbs=("raised", "lifted", "pulled", "hoisted", "drawn"),
        directions=("toward the nose", "up below the nostrils", "upward to bare the teeth"),
        muscles=("levator labii superioris", "the levator of the upper lip", "contraction under the eye sockets"),
        appearances=(
            "the upper front teeth show",
            "the outline of the mouth bends",
            "the skin beside the nostrils is pouched",
            "the space below the nose shrinks",
            "the lip takes on a square outline",
            "the crease by the nostrils bows",
        ),
        negations=(
            "the upper lip keeps its distance from the nose",
            "the upper lip stays down",
            "the upper teeth remain covered",
        ),
        relations=(4, 9, 12),
        own_cues=r"upper (front )?(lip|teeth)",
        unique_cues=r"upper front teeth|upper gums|philtrum|(raised|lifted|elevated) upper lip"
        r"|upper lip (is )?(\w+ )?(curls|lifts|rises|raised|elevated|hoisted)",
        confusing_cues=r"lower lip|lip corners?|chin|furrows?|folds?|slightly outward|narrow|corner",
    ),
    11: AULexicon(
        regions=_many(
            "the nasolabial furrows beside the mouth",
            "the furrows between nose and mouth",
            "the nasolabial folds at the lips",
            "the creases beside the upper lip",
        ),
        verbs=("deepened", "sharpened", "accentuated", "darkened"),
        directions=("halfway down", "in their middle part", "by a slight outward tug"),
        muscles=("zygomaticus minor", "the lesser zygomatic muscle", "a slanting tug from the cheekbone"),
        appearances=(
            "the side of the upper lip shifts slightly outward",
            "a distinct groove borders the cheek",
            "the line beside the mouth stands out",
            "the skin beside the upper lip gathers",
            "a shadow lies along the fold",
            "the flesh next to the nostrils sinks in",
        ),
        negations=(
            "the furrows beside the mouth stay shallow",
            "the skin beside the upper lip remains smooth",
            "the nasolabial fold stays faint",
        ),
        relations=(4, 12, 25),
        own_cues=r"nasolabial|furrows?|folds?|creases?|grooves?",
        unique_cues=r"nasolabial|zygomaticus minor|lesser zygomatic",
        confusing_cues=r"pulled back|teeth|dimpl\w+|wings|bulg\w+|flat|lower lip|both lips|thin\w*|arc",
    ),
    12: AULexicon(
        regions=_many("the lip corners", "the corners of the mouth", "both lip corners"),
        verbs=("pulled", "drawn", "lifted", "swept", "raised"),
        directions=("back and up toward the cheekbones", "obliquely upward and back", "up and outward in a curve"),
        muscles=("zygomaticus major", "the greater zygomatic muscle", "a slanting pull from the cheekbones"),
        appearances=(
            "the mouth bends into a curve",
            "the mouth widens",
            "the cheeks are rounded",
            "the lips form a crescent",
            "the cheeks fill out",
            "the red of the lips is spread",
        ),
        negations=(
            "the lip corners stay level",
            "the mouth keeps a flat line",
            "the ends of the mouth do not rise",
        ),
        relations=(4, 6, 25),
        own_cues=r"up|upward|upturned|rising|rises?|curves?|crescent",
        unique_cues=r"crescent|upturned|upward curve|zygomaticus major|greater zygomatic",
        confusing_cues=r"down\w*|straight|vertical\w*|dimpl\w+|puff\w*|horizontal\w*|level line|chin|upper lip|slim"
        r"|sideways|tens\w+|neck",
    ),
    13: AULexicon(
        regions=_many("the ends of the lips", "the tips of the lips", "the pointed mouth corners"),
        verbs=("tugged", "jerked", "hitched", "hoisted", "pulled"),
        directions=("vertically toward the eyes", "straight up below the pupils", "steeply upward into points"),
        muscles=("levator anguli oris", "the levator of the mouth corner", "a vertical pull from above"),
        appearances=(
            "the cheeks puff out above the mouth",
            "small hooks form at both ends of the mouth",
            "the lips end in narrow points",
            "the cheeks swell like little balls",
            "the corners become thin and sharp",
            "the flesh over the corners balloons",
        ),
        negations=(
            "the mouth corners stay blunt",
            "the cheeks remain flat above the mouth",
            "the lip corners do not turn up steeply",
        ),
        relations=(4, 6, 25),
        own_cues=r"straight up\w*|vertical\w*|steep\w*|abruptly|puff\w*|upright",
        unique_cues=r"puff\w*|balloon\w*|anguli oris lifts|levator anguli oris",
        confusing_cues=r"down\w*|oblique\w*|diagonal\w*|dimpl\w+|widen\w*|broaden\w*|center|upper lip|nostrils?",
    ),
    14: AULexicon(
        regions=_many("the mouth corners", "both mouth corners", "the lip corners"),
        verbs=("tucked", "pinched", "drawn", "bunched"),
        directions=("inward", "deep into the cheeks", "in against the teeth", "in toward the molars"),
        muscles=("the buccinator", "the muscle inside each cheek", "contraction of the buccinator"),
        appearances=(
            "dimples appear beside the mouth",
            "small pits mark the cheeks",
            "short curved wrinkles frame the corners",
            "the skin beside the lips bunches",
            "a dent forms just outside the lips",
            "the cheeks are hollowed next to the mouth",
        ),
        negations=(
            "the mouth corners stay loose",
            "the skin beside the mouth remains smooth",
            "no pits mark the cheeks",
        ),
        relations=(4, 17, 25),
        own_cues=r"dimpl\w+|dent\w*|pits?|in|into|inward|sink|tuck(ed)?|curved wrinkle",
        unique_cues=r"dimpl\w*|buccinator|molars|corners (are )?tucked",
        confusing_cues=r"up\w*|downward|puff\w*|widen\w*|red|roll\w*|wrap\w*|jaw|chin|nose|nostrils?|apart|wide"
        r"|both lips|borders?|level|knot|moisten|edges|slim",
    ),
    15: AULexicon(
        regions=_many("both ends of the mouth", "the ends of the mouth line", "the corners of the mouth"),
        verbs=("pulled", "dragged", "tugged", "lowered"),
        directions=("down toward the jawbone", "down beside the chin", "downward below the level of the lips"),
        muscles=("depressor anguli oris", "the depressor of the mouth corner", "a pull from the jawbone"),
        appearances=(
            "the mouth forms an upside-down curve",
            "the skin below the corners is wrinkled",
            "the line of the lips droops",
            "pouches gather beneath the mouth",
            "the mouth bends into an inverted bow",
            "the lines below the corners lengthen",
        ),
        negations=(
            "the ends of the mouth stay level",
            "the mouth corners do not sink",
            "the skin below the corners remains smooth",
        ),
        relations=(1, 4, 17),
        own_cues=r"down\w*|sag|sinks?|drop|droops?|depressed|lowered|low|depressor|beneath|below",
        unique_cues=r"droop\w*|upside-down|inverted bow|depressor anguli oris"
        r"|(corners?|ends) (\w+ ){0,4}(pulled|dragged|lowered|tugged) down\w*",
        confusing_cues=r"upward|up|rais\w+|ris(e|es|ing)|lift\w*|teeth|upper|tight\w*|red|thin|jaw tears|pocket"
        r"|dragged after",
    ),
    16: AULexicon(
        regions=_one(
            "the lower lip", "the bottom lip", "the red border of the lower lip", "the middle of the lower lip"
        ),
        verbs=("pulled", "dragged", "drawn", "hauled", "tugged"),
        directions=("downward", "down toward the chin", "down off the teeth"),
        muscles=("depressor labii inferioris", "the depressor of the lower lip", "a pull from below the mouth"),
        appearances=(
            "the lower front teeth are exposed",
            "the chin is stretched smooth",
            "the lower gums come into view",
            "the skin of the chin flattens",
            "the bottom teeth show",
            "the red border rolls out toward the chin",
        ),
        negations=(
            "the lower lip keeps its height",
            "the lower teeth remain covered",
            "the lower lip does not sink",
        ),
        relations=(4, 9, 17),
        own_cues=r"(lower|bottom) (front )?(lip|teeth|gums)|chin",
        unique_cues=r"(lower|bottom) gums|lower front teeth|labii inferioris draws|depressor labii inferioris"
        r"|(lower|bottom) lip (\w+ ){0,3}(pulled|dragged|hauled|tugged) down\w*",
        confusing_cues=r"upper|corners?|raised|upward|up|nose|tongue|open",
    ),
    17: AULexicon(
        regions=_one("the chin", "the chin boss", "the pad of the chin", "the skin of the chin"),
        verbs=("pushed", "lifted", "raised", "hoisted", "shoved"),
        directions=("up against the lower lip", "up toward the mouth", "upward below the mouth"),
        muscles=("the mentalis", "contraction of the mentalis", "a short pull of the mentalis"),
        appearances=(
            "pits cover the skin below the mouth",
            "the lower lip juts out",
            "the lower lip is driven up",
            "the surface crumples like orange peel",
            "a deep crease forms below the lower lip",
            "the line of the mouth bows at its center",
        ),
        negations=(
            "the chin stays smooth",
            "the chin boss keeps its place",
            "the skin of the chin remains even",
        ),
        relations=(4, 9, 14),
        own_cues=r"chin",
        unique_cues=r"chin boss|boss of the chin|mentalis|orange peel|peach stone"
        r"|(raised|wrinkled|pitted|bunched) chin",
        confusing_cues=r"down\w*|flatten\w*|teeth|press\w*|nose|dragging|shows?|loses|flat|wide",
    ),
    18: AULexicon(
        regions=_many("the lips", "both lips", "the rims of the lips", "the upper and the lower lip"),
        verbs=("drawn", "gathered", "crowded", "bunched"),
        directions=(
            "into a small round bud",
            "toward the midline and forward",
            "forward into a pucker",
            "into a small wrinkled knot",
        ),
        muscles=(
            "the pull of the incisive muscles",
            "contraction of the incisive muscles",
            "the sphincter of the mouth",
        ),
        appearances=(
            "the mouth loses much of its width",
            "fine lines run into the red of the lips",
            "the lips stick out",
            "the mouth looks small and round",
            "vertical wrinkles crowd the lips",
            "the corners of the mouth approach each other",
        ),
        negations=(
            "the lips stay flat",
            "the mouth keeps its width",
            "the lips do not jut forward",
        ),
        relations=(4, 9, 26),
        own_cues=r"pucker\w*|purse\w*|small(er)?|midline|kiss|width|rosette|whistling|drawstring|centers?|shorter",
        unique_cues=r"pucker\w*|purs(e|ed|es|ing)|rosette|kiss|whistling|incisive muscles?",
        confusing_cues=r"flar\w+|funnel\w*|stretch\w*|press\w*|teeth|dent|hole|tight\w*|hooks?|pouches",
    ),
    20: AULexicon(
        regions=_many("the lips", "both lips", "the two sides of the mouth"),
        verbs=("stretched", "hauled", "tugged", "extended"),
        directions=("sideways toward the ears", "horizontally outward", "to the sides along a level line"),
        muscles=("the risorius", "a lateral pull of the platysma", "contraction of the risorius"),
        appearances=(
            "the mouth is long and flat",
            "the lips are thinned to a band",
            "the skin beside the mouth tautens",
            "the mouth looks like a slot",
            "folds form where the skin is shoved back",
            "the curves of the lips vanish",
        ),
        negations=(
            "the mouth keeps its length",
            "the lip corners do not move sideways",
            "the skin beside the mouth stays unstretched",
        ),
        relations=(1, 4, 26),
        own_cues=r"sideways|sides?|horizontal\w*|lateral\w*|level|wide|apart|longer",
        unique_cues=r"sideways|risorius|earlobes?|horizontally",
        confusing_cues=r"up|upward|down\w*|round\w*|protrud\w*|raised|teeth|gap|oval|chin|hollows?|dent|seam|ajar"
        r"|seal",
    ),
    22: AULexicon(
        regions=_many("the lips", "both lips", "the rims of the lips", "the edges of the lips"),
        verbs=("turned", "rolled", "pushed", "flared", "curled"),
        directions=("outward and forward", "outward into a funnel", "outward off the gums"),
        muscles=("the orbicularis oris", "the ring muscle of the mouth", "contraction of the orbicularis oris"),
        appearances=(
            "the mouth opens like a trumpet",
            "the inner surface of the lips is exposed",
            "the mouth forms a hollow ring",
            "the front teeth are glimpsed",
            "more red shows than usual",
            "the mouth juts out like a spout",
        ),
        negations=(
            "the lips keep close to the teeth",
            "the inner surface of the lips remains hidden",
            "the lips do not flare",
        ),
        relations=(1, 4, 9),
        own_cues=r"funnel\w*|flar\w+|outward|evert\w*|inside out|trumpet",
        unique_cues=r"funnel\w*|evert\w*|flar\w+|trumpet|spout",
        confusing_cues=r"pucker\w*|purs\w+|kiss\w*|press\w*|inward|tight\w*|corners?|furrows?|strip|below the chin"
        r"|crease",
    ),
    23: AULexicon(
        regions=_many("the lips", "both lips", "the red parts of the lips", "the rims of the lips"),
        verbs=("tightened", "tensed", "hardened", "narrowed", "thinned"),
        directions=("within themselves", "to slim strips", "into lean bands"),
        muscles=("the orbicularis oris", "the ring of muscle in the lips", "contraction within the lips"),
        appearances=(
            "the red of the lips becomes narrow",
            "fine wrinkles ring the mouth",
            "the lips look rigid",
            "the lips roll slightly inward",
            "the mouth looks lean and firm",
            "short lines appear around the lip edges",
        ),
        negations=(
            "the lips stay soft",
            "the red of the lips keeps its fullness",
            "the lips remain full",
        ),
        relations=(4, 17, 26),
        own_cues=r"tight\w*|tens\w+|hard\w*|thin\w*|narrow\w*|slim|stiff\w*",
        unique_cues=r"vermilion (\w+ )?tight\w*|tight\w* (\w+ )?lips?|lips? (\w+ ){0,2}tight\w*|hardened lips",
        confusing_cues=r"press\w*|clamp\w*|teeth|shut|protrud\w*|stretch\w*|corners?|jaw|gap|opening|sides?"
        r"|horizontal\w*|seam",
    ),
    24: AULexicon(
        regions=_many("the lips", "both lips", "the upper and the lower lip", "the closed lips"),
        verbs=("pressed", "squeezed", "clamped", "pushed", "jammed"),
        directions=("firmly together", "against each other", "hard against one another"),
        muscles=("the orbicularis oris", "pressure from the ring muscle", "contraction of the ring muscle"),
        appearances=(
            "the mouth becomes a flat line",
            "the skin above and below the mouth bulges",
            "the red of the lips turns pale",
            "the seam of the mouth is sealed",
            "the flesh of the lips is squashed",
            "small swellings rise around the mouth",
        ),
        negations=(
            "the lips stay free of pressure",
            "the lips meet without force",
            "the seam of the mouth keeps its curves",
        ),
        relations=(4, 14, 17),
        own_cues=r"press\w*|pressure|compress\w*|squeez\w*|squash\w*|clamp\w*|jam\w*|push\w*|forces|bears? (on"
        r"|against)",
        unique_cues=r"press\w* (\w+ )?(together|against)|clamp\w*|lips? (\w+ )?press\w*|pressed lips|blotting",
        confusing_cues=r"tight\w*|inward|teeth|part|apart|narrow\w*|protrud\w*|chin|corners?|nose|nostrils?|edge"
        r"|horn|thin",
    ),
    25: AULexicon(
        regions=_many("the lips", "both lips", "the upper and the lower lip", "the edges of the lips"),
        verbs=("parted", "separated", "opened"),
        directions=("slightly", "by a narrow gap", "by a little", "just enough to leave a gap"),
        muscles=(
            "relaxation of the orbicularis oris",
            "release of the ring muscle",
            "a slight pull on the lower lip",
        ),
        appearances=(
            "the edges of the teeth can be glimpsed",
            "a slender dark space shows",
            "the mouth is ajar",
            "the inside of the mouth is seen",
            "contact between the lips is lost",
            "a slit runs along the mouth line",
        ),
        negations=(
            "the lips stay closed",
            "the lips keep in contact",
            "no gap shows between the lips",
        ),
        relations=(4, 12, 26),
        own_cues=r"part(ed|ing|s)?|apart|separat(e|es|ed|ing|ion)|ajar|away|open(s|ed|ing)?|gap",
        unique_cues=r"parted lips|lips (are )?(\w+ )?parted|ajar",
        confusing_cues=r"press\w*|jaw|wide|stretch\w*|chin|deep|furrows?|crease|hidden|gums|tall|vast|extreme"
        r"|full\w*|horizontal|tucked|tensed|bottom",
    ),
    26: AULexicon(
        regions=_one("the jaw", "the lower jaw", "the mandible", "the jaw with the chin"),
        verbs=("lowered", "dropped", "eased"),
        directions=("down in a relaxed way", "loosely downward", "down by its own weight", "down without strain"),
        muscles=("relaxation of the chewing muscles", "release of the masseter", "a slackening masseter"),
        appearances=(
            "the teeth come apart",
            "the chin sinks",
            "the lower face lengthens",
            "a space opens between the rows of teeth",
            "the back teeth lose contact",
            "the chin hangs toward the neck",
        ),
        negations=(
            "the jaw stays up",
            "the teeth remain together",
            "the mandible keeps its place",
        ),
        relations=(1, 4, 12),
        own_cues=r"relax\w*|loose\w*|slack\w*|limp\w*|own weight|unclench\w*|easy|eas(e|ed|ily)|without strain",
        unique_cues=r"slack\w* jaw|jaw (\w+ ){0,2}(slack\w*|limp)|unclench\w*|relaxed jaw|masseter|chewing muscles?",
        confusing_cues=r"stretch\w*|wide|forced|lips?|mouth",
    ),
    27: AULexicon(
        regions=_one("the mouth", "the whole mouth", "the opening of the mouth"),
        verbs=("stretched", "pulled", "forced", "flung"),
        directions=(
            "wide open by the jaw",
            "open to its limit",
            "open into a great oval",
            "open as far as it goes",
        ),
        muscles=("the digastric", "the lateral pterygoid", "a strong pull on the jaw"),
        appearances=(
            "the cheeks are drawn flat",
            "the whole face is elongated",
            "the tongue and throat come into view",
            "the jaw is pulled far down",
            "the lips are spread far apart",
            "the chin is driven toward the chest",
        ),
        negations=(
            "the mouth does not gape",
            "the lower face keeps its length",
            "the jaw does not sink far",
        ),
        relations=(1, 4, 9),
        own_cues=r"wide|as far as it goes|great|deep|limit|cavernous|(long|tall) oval|full(est|y)?|extreme|flung|vast"
        r"|huge",
        unique_cues=r"yawn\w*|gap(e|es|ing)|cavernous|wide open mouth|mouth (\w+ ){0,2}wide open"
        r"|digastric|pterygoids?",
        confusing_cues=r"relax\w*|loose\w*|slack\w*|slightly|little|crease|sideways|wide and flat|flat mouth|upward"
        r"|chin, the|chin pad",
    ),
    28: AULexicon(
        regions=_many("the lips", "both lips", "the red edges of the lips", "the rims of the lips"),
        verbs=("sucked", "rolled", "drawn", "pulled", "tucked"),
        directions=("into the mouth", "in over the teeth", "inside behind the teeth", "inward around the teeth"),
        muscles=("suction", "the sphincter of the mouth", "an inward pull of the orbicularis oris"),
        appearances=(
            "the red of the lips is hidden",
            "only a line is left of the mouth",
            "the skin around the mouth is stretched",
            "the lips vanish from sight",
            "the teeth are wrapped by the lips",
            "the skin under the nose is dragged along",
        ),
        negations=(
            "the red of the lips remains visible",
            "the lips stay outside the mouth",
            "the lips do not roll in",
        ),
        relations=(4, 12, 17),
        own_cues=r"suck\w*|suction|into the mouth|inside|in|inward|own lips|oral cavity|within the mouth",
        unique_cues=r"suck\w*|suction|oral cavity|swallow\w*|in over the teeth|lips into the mouth",
        confusing_cues=r"outward|protrud\w*|narrow\w*|press\w*|corners?|apart|wide|tens\w+|stiff|hard\w*|furrows?"
        r"|chin fl\w+|sinks?|midline|level|bud|fold that",
    ),
    43: AULexicon(
        regions=_many("the eyes", "both eyes", "the lids of both eyes", "the eyelids"),
        verbs=("closed", "shut", "sealed"),
        directions=("for a while", "for a lasting time", "in a sustained way", "as if at rest"),
        muscles=("relaxation of the levator palpebrae", "the sinking upper lid", "the resting upper eyelid"),
        appearances=(
            "the upper lids rest on the lower ones",
            "the iris stays hidden",
            "the lashes of both lids lie together",
            "a curved line of lashes remains",
            "the eyeballs are covered",
            "the lids keep still",
        ),
        negations=(
            "the eyes stay open",
            "the iris remains visible",
            "the lids do not rest on each other",
        ),
        relations=(4, 6, 25),
        own_cues=r"stay\w*|for a (long )?while|(at )?rest\w*|remain\w*|still|lasting|kept|keeps?|sustained|sleep\w*",
        unique_cues=r"eyes (stay|remain|keep|rest) (closed|shut)|sleep\w*|for a while|for a lasting time"
        r"|sustained (eye )?closure",
        confusing_cues=r"instant|moment(ary|arily)|again|blink\w*|brief\w*|quick\w*|tight\w*|wid(e|er|en|ening)"
        r"|tension",
    ),
    45: AULexicon(
        regions=_many("the eyes", "both eyes", "the eyeballs", "the pupils of the eyes"),
        verbs=("covered", "veiled", "hidden", "masked"),
        directions=("for an instant", "for a split second", "in one quick flutter", "in a rapid blink"),
        muscles=("a twitch of orbicularis oculi", "a reflex of the eyelids", "a sweep of the upper lids"),
        appearances=(
            "the lids open again at once",
            "the gaze is interrupted",
            "the lashes dip and rise",
            "the lids spring back",
            "sight returns before it is missed",
            "the upper lids sweep down and up",
        ),
        negations=(
            "the lids keep still",
            "the gaze is not interrupted",
            "the upper lids do not sweep down",
        ),
        relations=(4, 9, 12),
        own_cues=r"blink\w*|quick\w*|momentary|instant|briefly|split second|rapid\w*|flash|fast|immediately|swift\w*",
        unique_cues=r"blink\w*|flutter\w*|split second|for an instant|momentary closure",
        confusing_cues=r"stay\w*|remain\w*|sleep|kept|lasting|tight\w*",
    ),
}
"""The slots and cues of every Action Unit of the catalogue."""
