"""What the scanner's own settings say of a series: weighting from TR, TE and TI, contrast agent, image type.

The bounds are wide; what lies outside all of them stays unnamed.
"""

from __future__ import annotations

from dataclasses import dataclass

from client.dicom.header import Header
from client.dicom.words import read_words
from common.sequences import Sequence

MAPS = {"ADC": Sequence.ADC, "TRACEW": Sequence.DWI, "CBV": Sequence.CBV, "RELCBV": Sequence.CBV, "RCBV": Sequence.CBV}
"""Words of ImageType that name a derived map."""

BARRED = {
    "LOCALIZER": "a localiser",
    "MPR": "a reformat",
    "REFORMATTED": "a reformat",
    "PROJECTION IMAGE": "a projection (MIP)",
    "MIP": "a projection (MIP)",
    "MNIP": "a projection (MIP)",
    "MAX_IP": "a projection (MIP)",
    "MIN_IP": "a projection (MIP)",
    "SUBTRACTION": "a subtraction",
    "P": "a phase image",
    "PHASE": "a phase image",
    "PHASE MAP": "a phase image",
    "R": "a real part",
    "REAL": "a real part",
    "I": "an imaginary part",
    "IMAGINARY": "an imaginary part",
    "F": "a fat image",
    "FAT": "a fat image",
    "FA": "a map of anisotropy",
    "CBF": "another map",
    "MTT": "another map",
    "TTP": "another map",
    "SYNTHETIC": "a computed image",
}
WEIGHTED_B = 500
"""Lowest b-value, s/mm², of an image that counts as diffusion-weighted."""

PRODUCTS = (
    "omniscan",
    "primovist",
    "eovist",
    "vasovist",
    "ablavar",
    "elucirem",
    "vueway",
    "optimark",
    "artirem",
    "pixxoscan",
)
"""Agents whose names do not begin with `gado`, besides those that a description is searched for."""

NO_AGENT = frozenset(
    {
        "none",
        "no",
        "nein",
        "non",
        "ohne",
        "kein",
        "keine",
        "keins",
        "sans",
        "0",
        "-",
        "n/a",
        "na",
        "nil",
        "nativ",
        "senza",
        "sin",
    }
)


@dataclass(frozen=True)
class Measured:
    """What tags say.

    Attributes:
        kind: the sequence; T1Gd is T1 with contrast agent here. None where the tags fit none or are missing.
        evidence: the tags behind it.
        silent: whether there was nothing to go by.
        strange: what it is, where that is no sequence of the vocabulary.
        agent: whether contrast agent was given; None where no tag says so: an empty tag is no proof of none.
        derived: whether it was computed from other images.
    """

    kind: Sequence | None
    evidence: str
    silent: bool = False
    strange: str = ""
    agent: bool | None = None
    derived: bool = False


def read_tags(header: Header) -> Measured:
    """Return what the tags of one slice say; all slices of a series share them."""
    agent, derived = _agent(header), "DERIVED" in header.image_type
    for word in header.image_type:
        if word == "TRACEW" and header.b_value is not None and header.b_value < WEIGHTED_B:
            return Measured(None, word, strange="a diffusion image without weighting", agent=agent, derived=derived)
        if word in MAPS:
            return Measured(MAPS[word], f"ImageType {word}", agent=agent, derived=derived)
    tr_ms, te_ms, ti_ms = header.tr_ms, header.te_ms, header.ti_ms
    times = ", ".join(
        f"{name} {value:g}" for name, value in (("TR", tr_ms), ("TE", te_ms), ("TI", ti_ms)) if value
    )  # fmt: skip
    if not tr_ms or te_ms is None:
        return Measured(None, "TR or TE missing", silent=True, agent=agent, derived=derived)
    if "EP" in header.scanning or (header.b_value or 0) > 0:
        kind = Sequence.DWI if (header.b_value or 0) >= WEIGHTED_B else None
        strange = "" if kind else "an echo-planar image without diffusion weighting"
        return Measured(kind, f"echo-planar, b {header.b_value or 0:g}", strange=strange, agent=agent, derived=derived)
    kind, strange = weighting(tr_ms, te_ms, ti_ms or 0.0, header.scanning)
    return Measured(kind, times, strange=strange, agent=agent, derived=derived)


def weighting(tr_ms: float, te_ms: float, ti_ms: float, scanning: tuple[str, ...]) -> tuple[Sequence | None, str]:
    """Return the weighting that TR, TE and TI give, or none and what it is instead, in ms."""
    gradient = "GR" in scanning and "SE" not in scanning
    if ti_ms >= 1500 and tr_ms >= 4000 and te_ms >= 60:
        return Sequence.FLAIR, ""
    if 80 <= ti_ms <= 300 and tr_ms >= 1500 and te_ms >= 20:
        return None, "STIR"
    if ti_ms >= 400:
        return (Sequence.T1, "") if ti_ms <= 1500 and te_ms <= 40 and tr_ms <= 4000 else (None, "")
    if gradient:
        return (Sequence.T1, "") if tr_ms <= 350 and te_ms <= 10 else (None, "a T2*-weighted image")
    if te_ms <= 30 and tr_ms <= 1200:
        return Sequence.T1, ""
    if te_ms >= 65 and tr_ms >= 1500:
        return Sequence.T2, ""
    return None, "proton density" if te_ms <= 45 and tr_ms >= 1500 else ""


def _agent(header: Header) -> bool | None:
    """Return whether contrast agent was given; None where the tag says nothing known, or text and volume disagree.

    Hospitals write `no contrast`, `ohne KM`, `not given` or `?` into the tag as well as the agent's name: text that is
    not known proves nothing.
    """
    word, dose_ml = header.agent.strip().casefold(), header.agent_ml
    said = read_words(header.agent)
    if word in NO_AGENT or said.without_agent:
        return None if dose_ml else False
    if said.with_agent or any(word.startswith(name) for name in PRODUCTS):
        return None if dose_ml == 0 else True
    return True if dose_ml else None
