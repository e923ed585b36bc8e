"""What tells whether a site's game goes wrong, measured once a round on a few fixed pictures of its own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from client.data.dataset import CaseStore
from client.training.fixed_slices import fixed_slices
from client.training.game.batch import holding
from common.nets.ummgat import Ummgat
from common.sequences import Sequence

LIMIT = 8
"""Patients whose pictures are looked at, in each domain; more where more must stand behind a number that leaves."""


class GameWatch:
    """Remembers each own domain's mean style code under the weights that the round began with.

    Args:
        minimum: the patients that must stand behind a figure, if it is to be told.

    Attributes:
        patients: the fewest patients behind one of the figures.
    """

    def __init__(
        self, model: Ummgat, store: CaseStore, own: Mapping[Sequence, int], device: torch.device, minimum: int = 1
    ) -> None:
        self.model = model
        self.pictures: dict[int, Tensor] = {}
        self.brains: dict[int, Tensor] = {}
        for sequence, number in sorted(own.items()):
            slices = fixed_slices(store, holding(sequence), max(LIMIT, minimum))
            if slices is not None:
                self.pictures[number] = slices.images[sequence].to(device)
                self.brains[number] = slices.brain.to(device)
        self.patients = min((len(pictures) for pictures in self.pictures.values()), default=0)
        self.first = {number: codes.mean(0) for number, codes in self._codes().items()}

    def facts(self) -> dict[str, float]:
        """Return the round's figures; those of spread only where each domain has two pictures.

        `output_spread`: how much drawn pictures of one domain differ from patient to patient, as a share of how much
        real ones do; 0 where the generator draws one picture for all. `style_spread`: how much the codes of a domain's
        pictures differ, as a share of their length. `style_drift`: by how much a domain's mean code moved in this
        round, as a share of its length. The first two are means over the domains, the third is of the worst.
        """
        codes = self._codes()
        drift = [float((codes[each].mean(0) - mean).norm() / mean.norm()) for each, mean in self.first.items()]
        found = {"style_drift": max(drift)} if drift else {}
        if self.patients > 1:
            spreads = [float(each.std(0).norm() / each.norm(dim=1).mean()) for each in codes.values()]
            found["style_spread"] = sum(spreads) / len(spreads)
            found |= self._output_spread()
        return found

    @torch.no_grad()
    def _codes(self) -> dict[int, Tensor]:
        """Return, per own domain, its pictures' codes (N, S)."""
        return {
            number: self.model.encoder(pictures, pictures.new_full((len(pictures),), number, dtype=torch.int64))
            for number, pictures in self.pictures.items()
        }

    @torch.no_grad()
    def _output_spread(self) -> dict[str, float]:
        """Draw each domain from its neighbour's pictures and compare with real ones, inside everybody's brain."""
        numbers, shares = list(self.pictures), []
        for position, number in enumerate(numbers):
            source = numbers[position - 1]
            drawn = self.model.translate(self.pictures[source], self.model.domains[number])
            real = spread(self.pictures[number], self.brains[number])
            if real:
                shares.append(spread(drawn, self.brains[source]) / real)
        return {"output_spread": sum(shares) / len(shares)} if shares else {}


def spread(pictures: Tensor, brains: Tensor) -> float:
    """Return the SD over pictures (N, 1, H, W), N > 1, averaged over the pixels that lie in all `brains`; 0 without."""
    inside = brains.all(0)
    return float(pictures.std(0)[inside].mean()) if bool(inside.any()) else 0.0
