"""The secrets that the survivors' shares give back: self-masks of survivors, mask keys of sites that left."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from common.secure.groups import masked_groups, sealed_order
from common.secure.keys import SECRET_BYTES, public_key
from common.secure.messages import Adverts, Dealt, Revealed
from common.secure.shamir import combine


@dataclass(frozen=True)
class Opened:
    """What takes the masks off a sum.

    Attributes:
        mask_keys: private mask keys of the dealers that left.
        self_seeds: seeds of the survivors' self-masks, by site and group.
    """

    mask_keys: Mapping[str, bytes]
    self_seeds: Mapping[str, Mapping[str, bytes]]


class SharesMissingError(Exception):
    """Too few true shares of some secret came."""


@dataclass(frozen=True)
class ShareBook:
    """All shares that were dealt, and how many of them give a secret back."""

    adverts: Adverts
    dealt: Mapping[str, Dealt]
    survivors: tuple[str, ...]
    needed: int

    def false_shares(self, revealed: Revealed) -> bool:
        """Say whether a site revealed a share that is not the one dealt to it."""
        of_keys = ((dealer, "", share) for dealer, share in revealed.mask_keys.items())
        of_seeds = (
            (dealer, group, share) for dealer, seeds in revealed.self_seeds.items() for group, share in seeds.items()
        )
        return any(
            not self._is_true(dealer, what, revealed.site, share)
            for shares in (of_keys, of_seeds)
            for dealer, what, share in shares
        )

    def open(self, revealed: Mapping[str, Revealed]) -> Opened:
        """Return the secrets. Raises SharesMissingError naming the site whose secret cannot be had."""
        summed = masked_groups(self.adverts, self.survivors)
        keys = {
            dealer: self._secret(dealer, "", {site: each.mask_keys.get(dealer) for site, each in revealed.items()})
            for dealer in sorted(set(self.dealt) - set(self.survivors))
        }
        for dealer, key in keys.items():
            if public_key(key).hex() != self.adverts.by_site[dealer].mask_key:
                raise SharesMissingError(f"{dealer} dealt shares of another key than it advertised")
        seeds: dict[str, dict[str, bytes]] = {site: {} for site in self.survivors}
        for group, holders in summed.items():
            for dealer in holders:
                shares = {site: each.self_seeds.get(dealer, {}).get(group) for site, each in revealed.items()}
                seeds[dealer][group] = self._secret(dealer, group, shares)
        return Opened(keys, seeds)

    def _secret(self, dealer: str, what: str, shares: Mapping[str, str | None]) -> bytes:
        points = self.adverts.points
        found = {points[site]: int(share, 16) for site, share in sorted(shares.items()) if share is not None}
        if len(found) < self.needed:
            raise SharesMissingError(f"{len(found)} of {self.needed} shares of a secret of {dealer} came")
        value = combine(dict(list(found.items())[: self.needed]))
        if value >= 2 ** (8 * SECRET_BYTES):
            raise SharesMissingError(f"the shares that {dealer} dealt do not lie on one curve")
        return value.to_bytes(SECRET_BYTES)

    def _is_true(self, dealer: str, what: str, holder: str, share: str) -> bool:
        order = ("", *sealed_order(self.adverts, dealer))
        if dealer not in self.dealt or what not in order:
            return False
        digests = self.dealt[dealer].digests[holder]
        return hashlib.sha256(bytes.fromhex(share)).hexdigest() == digests[order.index(what)]
