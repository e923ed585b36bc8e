"""The sum behind masked updates: group by group, over the survivors, without ever holding one site's numbers bare."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from common.parameters import StateDict
from common.records import DTYPES, Declared
from common.secure.fixed_point import Words, decode
from common.secure.groups import masked_groups, shares_of
from common.secure.keys import pair_seed, shared_secret
from common.secure.masks import add_mask
from common.secure.messages import Adverts
from server.aggregation.secret_shares import Opened

Layout = Mapping[str, Mapping[str, Declared]]
"""Per group its tensors, names sorted: the order in which a group's words hold them."""


@dataclass(frozen=True)
class MaskedSum:
    """One attempt's masked updates, and who was there at each phase.

    Attributes:
        dealers: the sites that every survivor masked against.
        words: a site's masked words of a group.
        cap, fraction_bits: as the study has them.
    """

    adverts: Adverts
    dealers: tuple[str, ...]
    survivors: tuple[str, ...]
    words: Callable[[str, str], Words]
    cap: int
    fraction_bits: int

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The groups that can be opened, with the survivors that hold them."""
        return masked_groups(self.adverts, self.survivors)

    def patients(self) -> dict[str, int]:
        """Return the patients behind each opened group, of all survivors together."""
        by_site = self.adverts.by_site
        return {
            group: sum(min(by_site[site].patients[group], self.cap) for site in holders)
            for group, holders in self.groups.items()
        }

    def mean(self, opened: Opened, layout: Layout) -> StateDict:
        """Return sum(w theta) / sum(w) over the survivors for every tensor of every group that can be opened."""
        tensors: StateDict = {}
        for group, holders in self.groups.items():
            dealers = masked_groups(self.adverts, self.dealers)[group]
            shares = shares_of(self.adverts, group, dealers, self.cap)
            total = self._bare(group, holders, dealers, opened)
            real = decode(total, sum(shares[site] for site in holders), self.fraction_bits)
            tensors |= _split(real, layout[group])
        return tensors

    def _bare(self, group: str, holders: tuple[str, ...], dealers: tuple[str, ...], opened: Opened) -> Words:
        """Return the holders' words summed, less their self-masks and their masks with the dealers that left."""
        total = self.words(holders[0], group).copy()
        for site in holders[1:]:
            total += self.words(site, group)
        for site in holders:
            add_mask(total, opened.self_seeds[site][group], -1)
        for gone in sorted(set(dealers) - set(holders)):
            for site in holders:
                agreed = shared_secret(opened.mask_keys[gone], bytes.fromhex(self.adverts.by_site[site].mask_key))
                seed = pair_seed(agreed, self.adverts.by_site[site].attempt, site, gone, group)
                add_mask(total, seed, -1 if site < gone else 1)
        return total


def _split(real: np.ndarray[tuple[int, ...], np.dtype[np.float64]], declared: Mapping[str, Declared]) -> StateDict:
    """Return a group's numbers as the tensors that they are of."""
    tensors, start = {}, 0
    for name, expected in declared.items():
        size = math.prod(expected.shape)
        flat = torch.from_numpy(real[start : start + size].copy())
        tensors[name] = flat.reshape(expected.shape).to(DTYPES[expected.dtype])
        start += size
    return tensors
