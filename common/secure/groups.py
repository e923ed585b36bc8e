"""Which parameter groups are summed under masks, over whom and with which share: known to all from the adverts."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from common.secure.messages import Adverts
from common.settings.secure_aggregation import MINIMUM_SITES

Holders = Mapping[str, tuple[str, ...]]


def masked_groups(adverts: Adverts, among: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the groups that at least three of the sites `among` hold, with these sites; groups and sites sorted."""
    holders: dict[str, list[str]] = {}
    for advert in adverts.adverts:
        for group in advert.patients if advert.site in among else ():
            holders.setdefault(group, []).append(advert.site)
    return {group: tuple(holders[group]) for group in sorted(holders) if len(holders[group]) >= MINIMUM_SITES}


def shares_of(adverts: Adverts, group: str, holders: Collection[str], cap: int) -> dict[str, float]:
    """Return each holder's share w_s / W of a group's mean: its patients, at most `cap`, over those of all holders."""
    weights = {site: min(adverts.by_site[site].patients[group], cap) for site in sorted(holders)}
    total = sum(weights.values())
    return {site: weight / total for site, weight in weights.items()}


def sealed_order(adverts: Adverts, dealer: str) -> tuple[str, ...]:
    """Return the groups of which `dealer` deals the self-mask's seed, in the order in which a box holds them."""
    groups = masked_groups(adverts, adverts.by_site.keys())
    return tuple(group for group, holders in groups.items() if dealer in holders)
