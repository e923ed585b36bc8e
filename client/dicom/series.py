"""From objects to series of one volume each: one SeriesInstanceUID may hold several, each of which is a part."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from client.dicom.geometry import Grid, normal, place
from client.dicom.header import Header

SAME_DIRECTION = 0.01
"""Largest difference of direction cosines within one volume."""

MOST_REPEATS = 4
"""More volumes of one kind in one series are a dynamic measurement, which no model uses."""


@dataclass(frozen=True)
class Series:
    """One candidate volume.

    Attributes:
        slices: its headers, sorted along their normal.
        part: what sets it apart within its SeriesInstanceUID, empty where nothing does.
        grid: where it lies, None where it is no volume.
        problems: why it cannot be converted.
        doubts: why a person should look at it.
    """

    slices: tuple[Header, ...]
    part: str = ""
    grid: Grid | None = None
    problems: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def lossy(self) -> bool:
        """Whether values of it were changed by a compression."""
        return any(header.lossy for header in self.slices)

    @property
    def header(self) -> Header:
        """The header that stands for all."""
        return self.slices[0]


def group(headers: Iterable[Header]) -> list[Series]:
    """Return the series of a folder, split into parts, by study and number; each is placed or says why not."""
    by_uid: dict[str, list[Header]] = defaultdict(list)
    for header in headers:
        by_uid[header.series].append(header)
    found: list[Series] = []
    for members in by_uid.values():
        parts = [each for kind in _kinds(members) for each in _repeats(kind)]
        labels = _labels(parts)
        doubts = _incomplete(members)
        found += [_placed(part, label, doubts) for part, label in zip(parts, labels, strict=True)]
    return sorted(
        found, key=lambda each: (each.header.study, each.header.series_number or 0, each.header.series, each.part)
    )


def _kinds(members: list[Header]) -> list[list[Header]]:
    """Return the members by what the slices of one volume share: grid, stack, echo, image type, b-value, times."""
    kinds: dict[tuple[object, ...], list[list[Header]]] = defaultdict(list)
    for header in members:
        shared = (
            header.study, header.patient_id, header.issuer, header.rows, header.columns, header.spacing_mm,
            header.image_type, header.echo, _rounded(header.te_ms), _rounded(header.ti_ms), header.flip_deg,
            header.b_value, header.stack,
        )  # fmt: skip
        for known in kinds[shared]:
            pairs = zip(known[0].orientation, header.orientation, strict=True)
            if max(abs(one - other) for one, other in pairs) < SAME_DIRECTION:
                known.append(header)
                break
        else:
            kinds[shared].append([header])
    return [part for parts in kinds.values() for part in parts]


def _rounded(value_ms: float | None) -> float | None:
    """Return a time without the jitter that some scanners write."""
    return None if value_ms is None else round(value_ms, 1)


def _repeats(members: list[Header]) -> list[list[Header]]:
    """Return the volumes of members that fill each place several times: by time point, else by acquisition."""
    if not _crowded(members):
        return [members]
    choices: tuple[Callable[[Header], int | None], ...] = (lambda each: each.temporal, lambda each: each.acquisition)
    for choice in choices:
        parts: dict[int | None, list[Header]] = defaultdict(list)
        for header in members:
            parts[choice(header)].append(header)
        equal = len({len(part) for part in parts.values()}) == 1
        if 1 < len(parts) <= MOST_REPEATS and equal and not any(_crowded(part) for part in parts.values()):
            return list(parts.values())
    return [members]


def _crowded(members: list[Header]) -> bool:
    axis = normal(members[0])
    places = Counter(round(float(axis @ each.position_mm), 1) for each in members)
    return max(places.values()) > 1


def _labels(parts: list[list[Header]]) -> list[str]:
    """Return what sets each part apart: a number, and echo or b-value where parts differ by it."""
    if len(parts) == 1:
        return [""]
    firsts = [part[0] for part in parts]
    echoes = len({first.te_ms for first in firsts}) > 1
    weights = len({first.b_value for first in firsts}) > 1
    return [
        f"part {number} of {len(parts)}"
        + (f", TE {first.te_ms:g}" if echoes and first.te_ms else "")
        + (f", b {first.b_value or 0:g}" if weights else "")
        for number, first in enumerate(firsts, start=1)
    ]


def _incomplete(members: list[Header]) -> tuple[str, ...]:
    """Return a doubt where numbers are missing within a series, or the scanner announced more images."""
    numbers = {each.instance for each in members if each.instance is not None}
    doubts = []
    absent = max(numbers) - min(1, *numbers) + 1 - len(numbers) if numbers else 0
    if absent:
        doubts.append(f"{absent} of its image numbers are missing")
    expected = max((each.expected or 0 for each in members), default=0)
    if len(members) < expected <= 100_000:
        doubts.append(f"the scanner announced {expected} images, {len(members)} are here")
    return tuple(doubts)


def _placed(members: list[Header], part: str, doubts: tuple[str, ...]) -> Series:
    axis = normal(members[0])
    series = Series(tuple(sorted(members, key=lambda each: (float(axis @ each.position_mm), each.name))), part)
    grid, problems = place(series.slices)
    return replace(series, grid=grid, problems=problems, doubts=doubts)
