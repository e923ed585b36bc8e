"""From completed slices to files in native space, each with its provenance in header, extension and sidecar."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.cache import CachedCase
from client.data.catalog import CatalogCase
from client.imaging.intensity import PHYSICAL_MAXIMUM, GreyScale
from client.imaging.nifti import write_volume
from client.inference.completion import UNKNOWN_CENTRE, Completion
from client.inference.native import NativeSpace, native_image, scale_of
from client.inference.segment import labels_of, without_specks
from common.files import write_whole
from common.release import Release
from common.sequences import Sequence
from common.settings.stages import Stage
from common.shapes import Labels, Volume

Facts = dict[str, Any]

DETAIL = "native + low-resolution difference"
PLAIN = "study grid, interpolated"


@dataclass(frozen=True)
class Picture:
    """One output image in the native box around the brain.

    Attributes:
        name: file name without suffix, e.g. `T2_filled`.
        volume: normalised greys in [-1, 1], -1 outside the brain; of a spread, their standard deviation, 0 outside.
        scale: the grey scale that turns them into the scanner's units; None writes 0 … 255.
        facts: what the sidecar says beyond what all files share.
        spread: the volume is a standard deviation.
    """

    name: str
    volume: Volume
    scale: GreyScale | None
    facts: Facts
    spread: bool = False


@dataclass(frozen=True)
class Assembly:
    """All outputs of one case in the native box around its brain.

    Attributes:
        space: the grid.
        real: the real sequences, normalised, for the contact sheet; they are not written again.
        pictures: by name.
        labels: the segmentation; None where the release has no segmenter.
    """

    space: NativeSpace
    real: Mapping[Sequence, Volume]
    pictures: Mapping[str, Picture]
    labels: Labels | None


def assemble(
    case: CatalogCase, cached: CachedCase, completion: Completion, release: Release, space: NativeSpace
) -> Assembly:
    """Carry a completion to the native grid.

    Filled sequences, what is harmonized from them, and maps of spread are interpolated. A harmonized real sequence
    keeps its own fine detail, and T1Gd under either hypothesis that of the real T1, where there is one.
    """
    real = {sequence: native_image(case, cached, space, sequence) for sequence in completion.real}
    detail = {sequence: space.detail(volume) for sequence, volume in real.items()}
    pictures = {
        picture.name: picture
        for group in (
            _filled(cached, completion, release, space),
            _harmonized(completion, release, space, detail),
            _hypotheses(cached, completion, release, space, detail),
            _map(completion, release, space),
        )
        for picture in group
    }
    return Assembly(space, real, pictures, _labels(completion, space))


def _filled(cached: CachedCase, completion: Completion, release: Release, space: NativeSpace) -> Iterator[Picture]:
    for sequence, fill in completion.fills.items():
        scale, origin = _scale(sequence, cached, release)
        facts = {
            "kind": "filled",
            "sequence": sequence,
            "stage": Stage.GENERATOR,
            "sources": [fill.source],
            "style": fill.domain.key,
            "greys": origin,
            "detail": PLAIN,
        }
        yield Picture(f"{sequence}_filled", space.image(fill.slices), scale, facts)


def _harmonized(
    completion: Completion, release: Release, space: NativeSpace, detail: Mapping[Sequence, Volume]
) -> Iterator[Picture]:
    for sequence, each in completion.harmonizations.items():
        own = sequence in completion.real
        scale, origin = _scale(sequence, None, release)
        facts = {
            "kind": "harmonized",
            "sequence": sequence,
            "stage": Stage.GENERATOR,
            "sources": [sequence if own else completion.fills[sequence].source],
            "style": each.domain.key,
            "unchanged": each.unchanged,
            "likeness": round(each.likeness, 4) if own else None,
            "greys": origin,
            "detail": DETAIL if own else PLAIN,
        }
        volume = space.sharpened(each.slices, detail[sequence]) if own else space.image(each.slices)
        yield Picture(f"{sequence}_harmonized", volume, scale, facts)


def _hypotheses(
    cached: CachedCase,
    completion: Completion,
    release: Release,
    space: NativeSpace,
    detail: Mapping[Sequence, Volume],
) -> Iterator[Picture]:
    if completion.hypotheses is None:
        return
    scale, origin = _scale(Sequence.T1GD, cached, release)
    sharp = detail.get(Sequence.T1)
    drawn = completion.hypotheses
    both = {
        "enhancing": (drawn.enhancing, drawn.enhancing_sd),
        "non-enhancing": (drawn.non_enhancing, drawn.non_enhancing_sd),
    }
    chosen = {"disrupted": "enhancing", "intact": "non-enhancing"}.get(completion.bbb.status)
    for hypothesis, (slices, spread) in both.items():
        facts = {
            "kind": "hypothesis",
            "sequence": Sequence.T1GD,
            "hypothesis": hypothesis,
            "stage": Stage.SYNTHESISER,
            "sources": [source for source in dict.fromkeys(completion.condition.values()) if source is not None],
            "condition": origins(completion),
            "samples": drawn.samples,
            "greys": origin,
            "detail": PLAIN if sharp is None else f"{DETAIL} (T1)",
        }
        volume = space.image(slices) if sharp is None else space.sharpened(slices, sharp)
        pictures = [Picture(f"T1Gd_{hypothesis}", volume, scale, facts)]
        if spread is not None:
            said = {**facts, "kind": "uncertainty", "statistic": "standard deviation of the samples", "detail": PLAIN}
            pictures.append(Picture(f"T1Gd_{hypothesis}_sd", space.probability(spread), scale, said, spread=True))
        yield from pictures
        if hypothesis == chosen:
            status = {"bbb_status": completion.bbb.status}
            yield replace(pictures[0], name="T1Gd_chosen", facts={**facts, **status, "kind": "chosen"})
            if len(pictures) > 1:
                yield replace(pictures[1], name="T1Gd_chosen_sd", facts={**pictures[1].facts, **status})


def _map(completion: Completion, release: Release, space: NativeSpace) -> Iterator[Picture]:
    """A map is contrast-free only if nothing that needs gadolinium was among its inputs."""
    drawn = completion.drawn_map
    if drawn is None:
        return
    scale, origin = _scale(drawn.sequence, None, release)
    facts = {
        "kind": "drawn map",
        "sequence": drawn.sequence,
        "stage": Stage.MAPS,
        "sources": list(drawn.inputs),
        "contrast_free": not drawn.gadolinium_inputs,
        "gadolinium_inputs": list(drawn.gadolinium_inputs),
        "greys": origin,
        "detail": PLAIN,
    }
    yield Picture(f"{drawn.sequence}_drawn", space.image(drawn.slices), scale, facts)


def _labels(completion: Completion, space: NativeSpace) -> Labels | None:
    """Return the label map: probabilities are interpolated, then thresholded, so that borders are smooth."""
    if completion.tumour_probability is None:
        return None
    probability = np.stack([space.probability(channel) for channel in completion.tumour_probability])
    return without_specks(labels_of(probability), space.voxel_ml)


def _scale(sequence: Sequence, cached: CachedCase | None, release: Release) -> tuple[GreyScale | None, str]:
    """Return the grey scale of an output: the case's own of that sequence where it has one and `cached` is given,
    else the median recorded in the release, else the fixed one of a map in physical units.

    By the pre-contrast maximum, T1Gd has the scale of the case's T1.
    """
    if sequence is Sequence.T1GD and release.study.data.t1_scaling == "pre-contrast-maximum":
        sequence = Sequence.T1 if cached is not None and cached.greys.get(Sequence.T1.value) else sequence
    if cached is not None and cached.greys.get(sequence.value):
        return scale_of(cached.greys[sequence.value]), "this case's own"
    recorded = release.greys.get(sequence)
    if recorded is None and sequence in PHYSICAL_MAXIMUM:
        return GreyScale(0.0, 1.0, 1.0, 0.0, PHYSICAL_MAXIMUM[sequence]), "the fixed scale of this map"
    if recorded is None:
        return None, "normalised greys, 0 to 255: the release records none of this sequence"
    return scale_of(recorded.constants), f"median of {recorded.site}, as the release records it"


def origins(completion: Completion) -> dict[str, str]:
    """Return what each condition of the hypotheses was, in words."""
    return {str(wanted): _origin(wanted, source) for wanted, source in completion.condition.items()}


def _origin(wanted: Sequence, source: Sequence | None) -> str:
    if source is None:
        return "missing"
    return "real" if wanted == source else f"filled from {source}"


def write_assembly(folder: Path, assembly: Assembly, completion: Completion, release: Release) -> None:
    """Write every picture and the segmentation, each with its sidecar, into `folder`.

    Raises:
        DataError: where the disk is full or the folder cannot be written.
    """
    shared = shared_facts(completion, release)
    for picture in assembly.pictures.values():
        _write(folder, picture.name, _greys(picture, assembly.space), {**shared, **picture.facts}, assembly.space)
    if assembly.labels is not None:
        facts = {
            **shared,
            "kind": "segmentation",
            "labels": {"1": "necrotic or non-enhancing core", "2": "oedema", "4": "enhancing tumour"},
            "stage": Stage.SEGMENTER,
            "sources": list(completion.real),
            "filled": list(completion.fills),
        }
        _write(folder, "segmentation", assembly.labels, facts, assembly.space)


def shared_facts(completion: Completion, release: Release) -> Facts:
    """Return what every sidecar of a case says."""
    return {
        "schema_version": 1,
        "synthetic": True,
        "research_use_only": True,
        "release": release.digest,
        "study": release.study.name,
        "code_version": release.manifest.code_version,
        "reference_centre": release.study.reference_site,
        "centre": completion.site or UNKNOWN_CENTRE,
        "harmonized_from_sequence_alone": completion.site is None,
    }


def _greys(picture: Picture, space: NativeSpace) -> Volume:
    """Return a picture in grey levels, 0 outside the brain."""
    shift = np.float32(0 if picture.spread else 1)
    if picture.scale is None:
        values = (picture.volume + shift) * np.float32(127.5)
    else:
        invert = picture.scale.invert_spread if picture.spread else picture.scale.invert
        values = invert(picture.volume)
    return np.where(space.brain, values, 0).astype(np.float32)


def _write(folder: Path, name: str, data: NDArray[Any], facts: Facts, space: NativeSpace) -> None:
    """Write one NIfTI, which calls itself synthetic, and its sidecar."""
    short = str(facts["release"])[:12]
    path = folder / f"{name}.nii.gz"
    like = space.like
    write_volume(path, space.whole(data), like.affine, description=f"SYNTHETIC {short}", extension=facts, like=like)
    write_whole(folder / f"{name}.json", (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode())
