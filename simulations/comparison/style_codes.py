"""What the sequence encoder makes of held-out pictures, real and drawn, and of their lesions, laid out on a plane.

UMMGAT (npj Precis Onc 9:384) shows the same map by target, by source, by real or drawn, and for lesions: codes of one
domain should lie together, whether the picture is real or drawn, and harmonized pictures among the reference centre's.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from client.inference.device import device_of
from client.inference.fill import pick_source
from client.precision import half_precision
from common.nets.ummgat import Ummgat
from common.sequences import Domain
from simulations.comparison.subject import Pencil, Subject

SLICES_A_PATIENT = 2
MOST_CODES = 900
"""Codes on a map; above it every n-th is shown, so that the map takes seconds for any number of patients."""
FEWEST_PATIENTS = 4
"""Patients below whom there is no map: it would show strands of single patients."""
NEIGHBOURS = 15


@dataclass(frozen=True)
class StyleCode:
    """One picture's code.

    Attributes:
        domain: by whose head it was read; a lesion twin's, where the picture is cropped to the lesion.
        source: what the picture is, or was drawn from.
        code: (S,).
        features: (F,), what the encoder saw of the picture before the head told it the domain.
    """

    domain: Domain
    source: Domain
    code: NDArray[np.float32]
    features: NDArray[np.float32]

    @property
    def drawn(self) -> bool:
        """Whether the generator drew the picture."""
        return self.source != Domain(self.domain.site, self.domain.sequence)


@dataclass(frozen=True)
class StyleMap:
    """Codes with their places (N, 2) on a plane, and the places of their features on another.

    Codes of two domains lie apart because two heads wrote them; features do only where the pictures differ.
    """

    codes: tuple[StyleCode, ...]
    by_code: NDArray[np.float32]
    by_features: NDArray[np.float32]


def map_styles(subjects: Items[Subject], pencil: Pencil, model: Ummgat, seed: int) -> StyleMap | None:
    """Return the map of the subjects' codes, None where there are too few patients for one."""
    if len({(subject.site, subject.own.patient) for subject in subjects}) < FEWEST_PATIENTS:
        return None
    codes = [code for subject in subjects for code in read_codes(subject, pencil, model)]
    codes = codes[:: -(-len(codes) // MOST_CODES)]
    by_code = lay_out(np.stack([each.code for each in codes]), seed)
    return StyleMap(tuple(codes), by_code, lay_out(np.stack([each.features for each in codes]), seed))


def read_codes(subject: Subject, pencil: Pencil, model: Ummgat) -> list[StyleCode]:
    """Return the codes of a few slices: real, filled at home, harmonized, and of the lesion in each of them."""
    numbers = _shown(subject)
    brain, lesion = subject.brain[list(numbers)], subject.lesion[list(numbers)]
    ill = lesion.any(axis=(1, 2))
    found = []
    for source, domain in _views(subject, pencil):
        if source == domain:
            picture = subject.truth.slices(source.sequence)[list(numbers)]
        else:
            picture = pencil.draw(subject, source.sequence, domain, numbers)
        found += _read(model, np.where(brain, picture, -1), domain, source)
        if ill.any():
            found += _read(model, np.where(lesion, picture, -1)[ill], domain.twin, source)
    return found


def lay_out(codes: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Return places (N, 2) of vectors (N, S) by UMAP (McInnes 2018); the same codes and seed give the same places."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # umap misses Tensorflow, which nothing here needs
        from umap import UMAP
    neighbours = min(NEIGHBOURS, len(codes) - 1)
    plane = UMAP(n_neighbors=neighbours, random_state=seed % 2**32, n_jobs=1)
    places: NDArray[np.float32] = plane.fit_transform(codes)
    return places


def _views(subject: Subject, pencil: Pencil) -> Iterator[tuple[Domain, Domain]]:
    """Yield source and target domains: each sequence as it is, as it would be filled, and as the reference's."""
    held = [sequence for sequence in pencil.sequences if sequence in subject.truth.sequences]
    for sequence in held:
        own, at_home = Domain(subject.site, sequence), pencil.domain(subject.site, sequence)
        source, reference = pick_source(sequence, held), pencil.domain(pencil.reference_site, sequence)
        if at_home == own:
            yield own, own
        if at_home is not None and source is not None:
            yield Domain(subject.site, source), at_home
        if reference is not None and reference != own:
            yield own, reference


def _shown(subject: Subject) -> tuple[int, ...]:
    """Return the fullest slice and its nearest sampled neighbours."""
    near: Iterable[int] = sorted(subject.sampled, key=lambda number: abs(number - subject.fullest_slice))
    return tuple(sorted(list(near)[:SLICES_A_PATIENT]))


@torch.inference_mode()
def _read(model: Ummgat, pictures: NDArray[np.floating], domain: Domain, source: Domain) -> list[StyleCode]:
    """Return what the encoder makes of pictures (B, H, W) under the head of `domain`."""
    device = device_of(model)
    image = torch.from_numpy(np.ascontiguousarray(pictures, dtype=np.float32))[:, None].to(device)
    with half_precision(device):
        features = model.encoder.features(image)
        code = model.encoder.out(features, torch.full((len(image),), model.number(domain), device=device))
    rows = zip(code.float().cpu().numpy(), features.float().cpu().numpy(), strict=True)
    return [StyleCode(domain, source, *row) for row in rows]
