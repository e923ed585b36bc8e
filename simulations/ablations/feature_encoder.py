"""The encoder whose features a Fréchet distance is taken of: it tells real slices of every site and sequence apart.

No weights from elsewhere, and none of the models under test: a small CNN learns on the training patients' real slices
which domain a slice is of, whatever its orientation in the plane; its pooled features are what is compared. The
distance is called FD with this encoder's name, never FID.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from client.data.cache import CachedCase
from client.site import Site
from common.metrics.distribution import Moments, frechet_distance, moments_of
from common.seeding import derive_seed, torch_generator
from common.sequences import Sequence

NAME = "domain classifier of the same phantoms, 64 features"
WIDTHS = (16, 32, 64)
STEPS, BATCH, RATE = 800, 32, 4e-3


class DomainClassifier(nn.Module):
    """(B, 1, H, W) in [-1, 1] → logits over domains (B, D); `features` are what its last layer sees, (B, 64).

    Without norms: how bright a tissue is drawn is what tells most sequences apart.
    """

    def __init__(self, domains: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((1, *WIDTHS), WIDTHS, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.out = nn.Linear(WIDTHS[-1], domains)

    def features(self, x: Tensor) -> Tensor:
        """Return the mean over the map of the last level."""
        pooled: Tensor = self.trunk(x).mean((2, 3))
        return pooled

    def forward(self, x: Tensor) -> Tensor:
        """Return one logit a domain."""
        logits: Tensor = self.out(self.features(x))
        return logits


@dataclass(frozen=True)
class FeatureEncoder:
    """A trained DomainClassifier and the share of its last training batches that it placed rightly."""

    net: DomainClassifier
    accuracy: float

    @torch.inference_mode()
    def moments(self, volumes: Iterable[NDArray[np.float32]]) -> Moments:
        """Return the statistics of the features of all slices of volumes (K, H, W) in [-1, 1]."""
        features = [self.net.features(torch.from_numpy(np.ascontiguousarray(one))[:, None]).numpy() for one in volumes]
        return moments_of(np.concatenate(features))

    def distance(self, drawn: Iterable[NDArray[np.float32]], real: Iterable[NDArray[np.float32]]) -> float:
        """Return FD between drawn and real volumes."""
        return frechet_distance(self.moments(drawn), self.moments(real))


def train_encoder(sites: Mapping[str, Site], sequences: tuple[Sequence, ...], seed: int) -> FeatureEncoder:
    """Train the encoder on real slices of the sites' training patients; the same seed gives the same encoder."""
    generator = torch_generator(seed, "feature-encoder")
    pools = [
        (sequence, [(case, _occupied(case)) for case in site.training.cases if sequence in case.sequences])
        for _, site in sorted(sites.items())
        for sequence in sequences
    ]
    held = [(sequence, pool) for sequence, pool in pools if pool]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "feature-encoder", "weights"))
        net = DomainClassifier(len(held))
    optimiser = torch.optim.AdamW(net.parameters(), RATE)
    right: list[float] = []
    for _ in range(STEPS):
        target = torch.randint(len(held), (BATCH,), generator=generator)
        slices = []
        for number in target.tolist():
            sequence, pool = held[number]
            case, occupied = pool[int(torch.randint(len(pool), (), generator=generator))]
            slices.append(case.slices(sequence)[occupied[int(torch.randint(len(occupied), (), generator=generator))]])
        logits = net(torch.from_numpy(np.stack(slices))[:, None])
        optimiser.zero_grad()
        F.cross_entropy(logits, target).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        right.append(float((logits.argmax(1) == target).float().mean()))
    return FeatureEncoder(net.eval().requires_grad_(False), float(np.mean(right[-STEPS // 4 :])))


def _occupied(case: CachedCase) -> NDArray[np.intp]:
    """Return the numbers of the slices that show brain."""
    return np.flatnonzero(case.brain().any(axis=(1, 2)))
