"""Which sequence a series is: tags and description are heard apart, and where they differ a person decides."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from client.dicom.header import Header
from client.dicom.tags import BARRED, Measured, read_tags
from client.dicom.words import Bar, Spoken, read_words
from common.sequences import Sequence

MAPPED = frozenset({Sequence.ADC, Sequence.CBV, Sequence.T1MAP, Sequence.DWI, Sequence.ASL, Sequence.SWI})
"""Sequences that may be derived from others; a derived T1 may be a reformat."""

CORRECTED = frozenset({"DIS2D", "DIS3D", "NORM", "DISTORTION_CORRECTED"})
"""Words of ImageType for a derivation that leaves the sequence what it was."""

OTHER_BODY = frozenset({
    "SPINE", "CSPINE", "TSPINE", "LSPINE", "SSPINE", "NECK", "CHEST", "THORAX", "ABDOMEN", "PELVIS", "PROSTATE",
    "BREAST", "HEART", "LIVER", "KNEE", "HIP", "SHOULDER", "ANKLE", "FOOT", "HAND", "WRIST", "ELBOW", "EXTREMITY",
    "LEG", "ARM",
})  # fmt: skip


class Confidence(StrEnum):
    """How sure a name is: tags and words agree; one of them alone; neither suffices, or they differ."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True)
class Recognition:
    """What a series was taken for.

    Attributes:
        sequence: the name, None where none fits or two do.
        confidence: with `low`, nothing is proposed.
        evidence: what spoke for it, in our words alone.
        doubts: why a person has to decide.
        bars: why it is of no use, whatever it shows.
        notes: what to know, and why it has no name.
        agent_tag: whether the scanner itself recorded contrast agent.
        agent_given: whether anything says that agent had been given by then, a perfusion measurement too.
        agent_known: whether tags or words say if agent was given.
    """

    sequence: Sequence | None
    confidence: Confidence
    evidence: tuple[str, ...]
    doubts: tuple[str, ...] = ()
    bars: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    agent_tag: bool = False
    agent_given: bool = False
    agent_known: bool = True


def recognise(header: Header) -> Recognition:
    """Return what the series is that one of its headers stands for."""
    spoken, measured = read_words(*header.labels), read_tags(header)
    evidence, bars = _evidence(spoken, measured), _bars(header, spoken)
    notes = _unnamed(header, spoken, measured)
    tag = measured.agent is True
    given = tag or spoken.with_agent or "perfusion" in spoken.strange
    if bars or notes:
        return Recognition(None, Confidence.LOW, evidence, (), bars, notes, agent_tag=tag, agent_given=given)
    kind, confidence, doubts = _kind(spoken, measured)
    if measured.derived and kind not in MAPPED and not CORRECTED & set(header.image_type):
        doubts = (*doubts, "derived from other images, perhaps a reformat")
    agent, agent_doubts = _agent(spoken, measured)
    if kind is Sequence.T1:
        doubts += agent_doubts
        if agent:
            kind = Sequence.T1GD
            confidence = confidence if measured.agent else Confidence.MEDIUM
    elif agent and kind is Sequence.FLAIR:
        notes = ("after contrast agent",)
    return Recognition(
        sequence=kind,
        confidence=Confidence.LOW if doubts or kind is None else confidence,
        evidence=evidence,
        doubts=doubts,
        notes=notes,
        agent_tag=tag,
        agent_given=given,
        agent_known=agent is not None or bool(agent_doubts),
    )


def _kind(spoken: Spoken, measured: Measured) -> tuple[Sequence | None, Confidence, tuple[str, ...]]:
    """Return the sequence without regard to contrast agent, how sure it is, and the doubts about it."""
    doubts = tuple(f"the description also names {name}" for name in spoken.strange)
    if len(spoken.kinds) > 1:
        return None, Confidence.LOW, (*doubts, f"the description names {_listed(spoken.kinds)}")
    if not spoken.kinds:
        return measured.kind, Confidence.MEDIUM, doubts
    (kind,) = spoken.kinds
    if measured.kind is kind:
        return kind, Confidence.HIGH, doubts
    if kind in MAPPED and measured.derived and measured.kind is None:
        return kind, Confidence.MEDIUM, doubts
    if kind is Sequence.SWI and measured.strange.startswith("a T2*"):
        return kind, Confidence.HIGH, doubts
    says = measured.kind or measured.strange
    if says:
        return None, Confidence.LOW, (*doubts, f"the description says {kind}, the tags say {says}")
    return kind, Confidence.LOW, (*doubts, "named by its description alone, the tags do not bear it out")


def _agent(spoken: Spoken, measured: Measured) -> tuple[bool | None, tuple[str, ...]]:
    """Return whether contrast agent was given, None where nothing says it, and the doubts about it."""
    if spoken.with_agent and spoken.without_agent:
        return None, ("the description says both with and without contrast agent",)
    said = True if spoken.with_agent else False if spoken.without_agent else None
    if said is not None and measured.agent is not None and said is not measured.agent:
        tags, description = ("was", "was not") if measured.agent else ("was not", "was")
        return None, (f"the tags say that contrast agent {tags} given, the description that it {description}",)
    return (measured.agent if said is None else said), ()


def _bars(header: Header, spoken: Spoken) -> tuple[str, ...]:
    """Return what makes a series useless whatever its weighting."""
    found = [BARRED[word] for word in header.image_type[:8] if word in BARRED]
    found += [str(bar) for bar in spoken.bars if bar is not Bar.OTHER_BODY]
    if spoken.reformat and "DERIVED" in header.image_type:
        found.append("a reformat")
    return tuple(dict.fromkeys(found))


def _unnamed(header: Header, spoken: Spoken, measured: Measured) -> tuple[str, ...]:
    """Return why a series has no name here although nothing about it is in dispute."""
    if header.body_part in OTHER_BODY or (Bar.OTHER_BODY in spoken.bars and "HEAD" not in header.body_part):
        return ("not of the head, by its tags or description",)
    if spoken.strange and (not spoken.kinds or measured.kind is None):
        return (f"no sequence that is used here: {', '.join(spoken.strange)}",)
    if not spoken.kinds and measured.kind is None:
        return (f"no sequence that is used here: {measured.strange}" if measured.strange else "nothing names it",)
    if spoken.kinds == {Sequence.HARDI}:
        return ("diffusion directions; no model uses them yet",)
    return ()


def _evidence(spoken: Spoken, measured: Measured) -> tuple[str, ...]:
    found = [measured.evidence]
    if measured.agent is not None:
        found.append("tag: contrast agent" if measured.agent else "tag: no contrast agent")
    if spoken.kinds or spoken.strange:
        found.append(f"words: {_listed(spoken.kinds) or ', '.join(spoken.strange)}")
    if spoken.with_agent:
        found.append("words: contrast agent")
    if spoken.without_agent:
        found.append("words: no contrast agent")
    return tuple(found)


def _listed(kinds: frozenset[Sequence]) -> str:
    return " and ".join(kind for kind in Sequence if kind in kinds)
