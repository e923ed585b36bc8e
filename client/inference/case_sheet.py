"""What stands on a case's contact sheet: real, filled, harmonized, hypotheses, their difference and SD, the tumour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.inference.assemble import Assembly
from client.inference.completion import UNKNOWN_CENTRE, Completion
from client.inference.contact_sheet import Panel, Row, write_sheet
from common.release import Release
from common.sequences import STRUCTURAL, Sequence

MARGIN_MM = 6.0
SYNTHETIC, PREDICTED = "SYNTHETIC", "PREDICTED"
UNDERLAYS = (Sequence.FLAIR, Sequence.T2, Sequence.T1, Sequence.T1GD)
"""On which image the segmentation is drawn: the first that the case has, real or drawn."""


def write_case_sheet(path: Path, case: str, assembly: Assembly, completion: Completion, release: Release) -> None:
    """Draw the sheet of one case at the axial slice with most tumour (most brain where there is none)."""
    view = _View(assembly)
    sequences = tuple(s for s in (*STRUCTURAL, *Sequence) if s in assembly.real or s in completion.fills)
    sequences = tuple(dict.fromkeys(sequences))
    reference = release.study.reference_site
    rows = [
        Row("real", tuple(view.real(sequence) for sequence in sequences)),
        Row("filled", tuple(_filled(view, completion, sequence) for sequence in sequences)),
        Row(f"as {reference} draws it", tuple(_harmonized(view, completion, sequence) for sequence in sequences)),
    ]
    if not completion.fills:
        del rows[1]
    last = (*_hypotheses(view, completion), *_segmentation(view, completion))
    if last:
        rows.append(Row("T1Gd by hypothesis", last))
    centre = completion.site or UNKNOWN_CENTRE
    title = f"{case} · slice {view.number} of {assembly.space.like.data.shape[2]}\n{_status(completion)}"
    footer = (
        f"Not for diagnosis. Drawn by GlioFed release {release.short}, study {release.study.name}; centre: {centre}.\n"
        "Patient's right at the left (R)."
    )
    write_sheet(path, title, footer, rows, view.spacing_mm)


class _View:
    """One axial plane of an assembly, cropped to the brain."""

    def __init__(self, assembly: Assembly) -> None:
        self.assembly = assembly
        brain, labels = assembly.space.brain, assembly.labels
        area = (brain if labels is None or not labels.any() else labels > 0).sum(axis=(0, 1))
        self.k = int(np.argmax(area))
        self.number = assembly.space.box[2].start + self.k + 1
        rows, columns = np.flatnonzero(brain.any(axis=(1, 2))), np.flatnonzero(brain.any(axis=(0, 2)))
        i, j, _ = np.linalg.norm(assembly.space.affine[:3, :3], axis=0)
        self.spacing_mm = (float(i), float(j))
        self.window = tuple(
            slice(max(0, int(found[0] - MARGIN_MM / step)), int(found[-1] + MARGIN_MM / step) + 1)
            for found, step in zip((rows, columns), self.spacing_mm, strict=True)
        )

    def plane(self, volume: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the plane (I, J) of a native volume."""
        found: NDArray[np.float32] = volume[:, :, self.k][self.window]
        return found

    def real(self, sequence: Sequence) -> Panel:
        """Return a real sequence, or an empty place."""
        volume = self.assembly.real.get(sequence)
        if volume is None:
            return Panel(sequence, note="not acquired")
        return Panel(sequence, self.plane(volume))

    def drawn(self, title: str, name: str, *, chosen: bool = False, note: str = "") -> Panel:
        """Return an output, stamped, or an empty place."""
        picture = self.assembly.pictures.get(name)
        if picture is None:
            return Panel(title, note=note)
        return Panel(title, self.plane(picture.volume), stamp=SYNTHETIC, chosen=chosen)


def _filled(view: _View, completion: Completion, sequence: Sequence) -> Panel:
    fill = completion.fills.get(sequence)
    if fill is None:
        return Panel(sequence, note="real")
    return view.drawn(f"{sequence} from {fill.source}", f"{sequence}_filled")


def _harmonized(view: _View, completion: Completion, sequence: Sequence) -> Panel:
    fill = completion.fills.get(sequence)
    title = str(sequence) if fill is None else f"{sequence} from {fill.source}"
    return view.drawn(title, f"{sequence}_harmonized", note="no site holds it")


def _hypotheses(view: _View, completion: Completion) -> tuple[Panel, ...]:
    pictures = view.assembly.pictures
    if "T1Gd_enhancing" not in pictures:
        return ()
    plus, minus = pictures["T1Gd_enhancing"].volume, pictures["T1Gd_non-enhancing"].volume
    status = completion.bbb.status
    return (
        view.drawn(_chosen("if disrupted", status == "disrupted"), "T1Gd_enhancing", chosen=status == "disrupted"),
        view.drawn(_chosen("if intact", status == "intact"), "T1Gd_non-enhancing", chosen=status == "intact"),
        Panel("disrupted − intact", view.plane((plus - minus) * np.float32(127.5)), stamp=SYNTHETIC, difference=True),
        *_spread(view, "non-enhancing" if status == "intact" else "enhancing"),
    )


def _spread(view: _View, hypothesis: str) -> tuple[Panel, ...]:
    """Return the uncertainty of the hypothesis that the release takes, of the enhancing one where it takes none."""
    picture = view.assembly.pictures.get(f"T1Gd_{hypothesis}_sd")
    if picture is None:
        return ()
    title = f"SD if {'disrupted' if hypothesis == 'enhancing' else 'intact'}, n = {picture.facts['samples']}"
    return (Panel(title, view.plane(picture.volume * np.float32(127.5)), stamp=SYNTHETIC, difference=True),)


def _chosen(title: str, chosen: bool) -> str:
    return f"{title} (chosen)" if chosen else title


def _segmentation(view: _View, completion: Completion) -> tuple[Panel, ...]:
    labels = view.assembly.labels
    if labels is None:
        return ()
    sequence = next(s for s in UNDERLAYS if s in view.assembly.real or s in completion.fills)
    real = view.assembly.real.get(sequence)
    under = view.assembly.pictures[f"{sequence}_filled"].volume if real is None else real
    plane: NDArray[np.uint8] = labels[:, :, view.k][view.window]
    return (
        Panel(
            f"segmentation on {sequence}",
            view.plane(under),
            stamp=SYNTHETIC if real is None else PREDICTED,
            labels=plane,
        ),
    )


def _status(completion: Completion) -> str:
    bbb = completion.bbb
    if bbb.status == "indeterminate":
        return f"Blood-brain barrier indeterminate: {bbb.reason}"
    figure, plus, minus = "share of slices", bbb.consistency_enhancing, bbb.consistency_non_enhancing
    if bbb.decided_by == "means":  # the shares are equal then, and would seem to contradict the status
        figure, plus, minus = "mean over slices", bbb.mean_enhancing, bbb.mean_non_enhancing
    chance = "" if bbb.probability is None else f"; calibrated probability of disruption {bbb.probability:.2f}"
    return f"Blood-brain barrier {bbb.status} ({figure} {plus:.2f} if disrupted, {minus:.2f} if intact{chance})"
