"""What a series' description says, in the languages of the hospitals: its weighting, contrast agent, what it is not.

German, English, French, Italian, Spanish, Dutch, Polish, Danish and Norwegian. Only words of these tables come out; a
name in a description does not.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum

from common.sequences import Sequence


class Bar(StrEnum):
    """What a series must not be."""

    LOCALISER = "a localiser"
    SUBTRACTION = "a subtraction"
    PROJECTION = "a projection (MIP)"
    OTHER_BODY = "not of the head"


@dataclass(frozen=True)
class Spoken:
    """What words say.

    Attributes:
        kinds: sequences that are named; T1Gd is T1 with contrast agent here.
        strange: names of what the vocabulary does not have, such as an angiography.
        with_agent: words for contrast agent given.
        without_agent: words for none given.
        bars: what makes it of no use.
        reformat: whether it may be a reformat; `MPR` is also how MPRAGE is shortened, so the image type decides.
    """

    kinds: frozenset[Sequence] = frozenset()
    strange: tuple[str, ...] = ()
    with_agent: bool = False
    without_agent: bool = False
    bars: tuple[Bar, ...] = ()
    reformat: bool = False


AGENT = r"(?:km|kontras\w*|contrast\w*|mdc|gd|gad|gado\w*|injection|injecte\w*|injektion|civ|iv|ce|c|dotarem|clariscan)"
LINK = r"(?:(?:de|di|del|der|dem|iv|i v|plus) )*"
WITHOUT = re.compile(
    rf"\b(?:ohne|sans|senza|sin|without|zonder|bez|uten|utan|uden|no|non|kein\w*|vor|pre|prae|pra|avant|prima|antes|"
    rf"before|foer|przed|minus) {LINK}{AGENT}\b"
    r"|\b(?:nativ|nativ[aeo]|natyw\w*|unenhanced|noncontrast|noncon|precontrast|pra?ekm|prakm|blanco|plain|"
    r"basale?(?! gang))\b"
    r"|\bpre\b(?! (?:op|rt|surg|chir|therap|treat|bestrahl))"
)
WITH = re.compile(
    r"\b(?:km|kontras\w*|contrast\w*|mdc|gd|gad|gado\w*|injection|injecte\w*|injektion|civ|ce|"
    r"c plus|plus c|plus(?= \||$)|dotarem|clariscan|magnevist|multihance|prohance|postcontrast|postkm|enhanced|"
    r"con c)(?!\w)"
    r"|\bpost\b(?! (?:op|rt|surg|chir|radio|chemo|therap|treat|bestrahl|proc|fossa))"
)

KINDS: dict[Sequence, str] = {
    Sequence.T1MAP: r"t1 ?map\w*|molli|mapit t1",
    Sequence.T1: r"t1|mprage|mp rage|bravo|fspgr|spgr|t1 tfe",
    Sequence.T2: r"t2",
    Sequence.FLAIR: r"flair|tirm dark|dark fluid|darkfluid|da fl|tirm",
    Sequence.ADC: r"adc|apparent diffusion|diffusionskoeffizient|dadc|eadc",
    Sequence.DWI: r"dwi|diff|diffusion|difusion|diffusione|dyfuzj\w*|trace|tracew|b1000|b 1000",
    Sequence.CBV: r"cbv|rcbv|relcbv|rrcbv",
    Sequence.SWI: r"swi|swan|susceptib\w*|suszeptib\w*|venobold|swip",
    Sequence.ASL: r"asl|pcasl|pasl|casl",
    Sequence.HARDI: r"dti|hardi|tensor|noddi",
}
STRANGE: dict[str, str] = {
    "T2*": r"t2 (?:star|ffe|gre|me 2d)|t2\*|hemo|haemo\w*|medic|merge",
    "STIR": r"stir",
    "proton density": r"pd|dp|protonen\w*|pdw",
    "angiography": r"tof|angio\w*|mra|mrv|phase contrast|pcmra|venogra\w*",
    "CISS": r"ciss|fiesta|bffe",
    "another map": r"fa|colfa|exp adc|cbf|rcbf|mtt|ttp|tmax|ktrans|ve|vp|r2star|t2 ?map\w*|gbp|pei|iauc|t0",
    "perfusion": r"perf\w*|pwi|dsc|dce|dyn\w*|twist",
    "functional or spectroscopy": r"fmri|bold|spectro\w*|mrs|csi|svs|press",
    "MP2RAGE": r"mp2rage|uni images|uni den",
    "double inversion": r"dir|psir|double inversion",
    "phase": r"pha|phase|phasen\w*",
}
BARS: dict[Bar, str] = {
    Bar.LOCALISER: r"locali[sz]\w*|lokali\w*|loc|scout\w*|survey|reperage|planung|pilot|3 ?plane|smartbrain|aahead",
    Bar.SUBTRACTION: r"sub|subtr\w*|subtraktion|soustr\w*|sottraz\w*|sustracc\w*|resta",
    Bar.PROJECTION: r"mip|minip|mnip|maxip|projection",
    Bar.OTHER_BODY: r"hws|bws|lws|wirbel\w*|spine|cervical|lumbal|lumbar|thorac\w*|rachis|colonna|columna|knee|knie|"
    r"genou|abdomen|becken|pelvis|prostata|prostate|mamma\w*|breast|leber|liver|herz|heart|schulter|shoulder",
}  # fmt: skip
REFORMAT = re.compile(r"\b(?:mpr|reformat\w*|reformation|rekon\w*|recon\w*|reconstruction)\b")


def read_words(*descriptions: str) -> Spoken:
    """Return what the descriptions of one series say together."""
    said = " | ".join(_plain(each) for each in descriptions)
    without = bool(WITHOUT.search(said))
    rest = WITHOUT.sub(" ", said).replace("phase contrast", "pcmra")
    kinds = {kind for kind, pattern in KINDS.items() if _says(pattern, said)}
    strange = tuple(name for name, pattern in STRANGE.items() if _says(pattern, said))
    return Spoken(
        kinds=frozenset(_sort_out(kinds)),
        strange=() if Sequence.CBV in kinds else tuple(name for name in strange if not _explained(name, kinds)),
        with_agent=bool(WITH.search(rest)),
        without_agent=without,
        bars=tuple(bar for bar, pattern in BARS.items() if _says(pattern, said)),
        reformat=bool(REFORMAT.search(said)),
    )


def _explained(name: str, kinds: set[Sequence]) -> bool:
    """Say whether a strange word is part of a known name: the phase of an SWI is not, T2* within an SWI is."""
    return (name == "T2*" and Sequence.SWI in kinds) or (name == "perfusion" and Sequence.ASL in kinds)


def _sort_out(kinds: set[Sequence]) -> set[Sequence]:
    """Leave the name that others are part of: T2 of a FLAIR, T1 of a `T1 FLAIR` and of a T1 map, DWI of an ADC."""
    weightings = {Sequence.T1, Sequence.T2}
    if Sequence.T1MAP in kinds:
        return kinds - weightings
    if Sequence.FLAIR in kinds and Sequence.T1 in kinds and Sequence.T2 not in kinds:
        return kinds - {Sequence.FLAIR}
    if Sequence.FLAIR in kinds and Sequence.T1 not in kinds:
        return kinds - {Sequence.T2}
    if Sequence.ADC in kinds:
        return kinds - {Sequence.DWI, Sequence.HARDI}
    if Sequence.HARDI in kinds:
        return kinds - {Sequence.DWI}
    return kinds - weightings if Sequence.SWI in kinds else kinds


def _says(pattern: str, text: str) -> bool:
    return re.search(rf"\b(?:{pattern})(?!\w)", text) is not None


def _plain(text: str) -> str:
    """Return lower-case words without accents, glued weightings taken apart: `T1w+KM` is `t1 w plus km`."""
    text = unicodedata.normalize("NFKD", text.casefold())
    text = "".join(letter for letter in text if not unicodedata.combining(letter)).replace("ø", "oe")
    text = re.sub(r"\bt1c\b", "t1 gd", text)  # `T1 C` and `T1-C` may mean anything
    # A lone hyphen before the agent is a minus to some and a dash to others: both are heard, and a person decides.
    text = re.sub(rf"(?<![a-z])-\s?(?={AGENT}(?![a-z0-9]))", " minus km km ", text)
    text = text.replace("w/o", " without ").replace("w/", " with ").replace("+", " plus ")
    text = re.sub(r"[^a-z0-9*]+", " ", text)
    return " ".join(re.sub(r"\b(t[12])(?=[a-z])", r"\1 ", text).split())
