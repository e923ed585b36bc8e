"""Vocabulary: MR sequences, and domains (a site's picture of a sequence), with their lesion twins."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from common.errors import StudyError

SITE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Sequence(StrEnum):
    """An MR sequence or map; the value is the word used in files, tables and parameter names."""

    T1 = "T1"
    T1GD = "T1Gd"
    T2 = "T2"
    FLAIR = "FLAIR"
    T1MAP = "T1map"
    ADC = "ADC"
    CBV = "CBV"
    SWI = "SWI"
    DWI = "DWI"
    ASL = "ASL"
    HARDI = "HARDI"


STRUCTURAL = (Sequence.T1, Sequence.T1GD, Sequence.T2, Sequence.FLAIR)
"""The four sequences of a standard glioma protocol, in the order of every channel axis."""


def in_order(sequences: Iterable[Sequence]) -> tuple[Sequence, ...]:
    """Return `sequences` in the vocabulary's order, the structural ones first."""
    wanted = set(sequences)
    return tuple(sequence for sequence in Sequence if sequence in wanted)


QUANTITATIVE = frozenset({Sequence.T1MAP, Sequence.ADC, Sequence.CBV})
"""Maps in physical units: never N4-corrected, never grey-normalised."""

NEEDS_GADOLINIUM = frozenset({Sequence.T1GD, Sequence.CBV})


@dataclass(frozen=True, order=True)
class Domain:
    """A sequence as one site draws it; `lesion` marks the twin that stands for its lesions (UMMGAT)."""

    site: str
    sequence: Sequence
    lesion: bool = False

    @property
    def key(self) -> str:
        """The domain's name in parameter names and reports, e.g. `hospital-a:T1` or `hospital-a:T1:lesion`."""
        return f"{self.site}:{self.sequence}" + (":lesion" if self.lesion else "")

    @property
    def twin(self) -> Domain:
        """The lesion twin of an image domain, or the image domain of a twin."""
        return replace(self, lesion=not self.lesion)

    @classmethod
    def parse(cls, key: str) -> Domain:
        """Read `key` back. Raises StudyError for anything that `key` would not write."""
        parts = key.split(":")
        try:
            if len(parts) not in (2, 3) or parts[2:] not in ([], ["lesion"]) or not SITE_NAME.fullmatch(parts[0]):
                raise ValueError
            return cls(parts[0], Sequence(parts[1]), len(parts) == 3)
        except ValueError:
            raise StudyError(f"domain {key!r} is not site:sequence or site:sequence:lesion") from None


def with_twins(domains: tuple[Domain, ...]) -> tuple[Domain, ...]:
    """Return image domains in sorted order followed by their lesion twins in the same order."""
    images = tuple(sorted({replace(domain, lesion=False) for domain in domains}))
    return images + tuple(domain.twin for domain in images)
