"""Parameter groups: which tensors of a model every site shares, which a domain owns, and which never leave a site.

A head that belongs to a domain lives in a `ModuleDict` called `heads`, keyed by `Domain.key`: its tensors are
`….heads.<site>:<sequence>[:lesion].…`. A tensor is local where the model names its prefix in `LOCAL_PREFIXES`: it never
travels. It is a norm where the model names it in `LOCAL_NORMS` (FedBN): a site sends it, for the release's mean, and
goes on from its own. Tensors below `statistics` are means over patients, not weights, and leave a site under the rule
for numbers. All the rest is shared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from common.sequences import Domain

SHARED = "shared"
LOCAL = "local"
NORMS = "norms"
STATISTICS = "statistics"
DOMAIN_PREFIX = "domain/"

OF_A_SITE = frozenset({LOCAL, NORMS})
"""Groups that each site goes on with from round to round; the coordinator does not send its own."""

StateDict = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Grouping:
    """What a model says of its groups beside what the names of its tensors say.

    Attributes:
        local: prefixes of tensors that never leave a site.
        norms: names of the normalisation layers' tensors where each site keeps its own.
    """

    local: tuple[str, ...] = ()
    norms: frozenset[str] = frozenset()


PLAIN = Grouping()


def grouping_of(model: torch.nn.Module) -> Grouping:
    """Return what `model` declares in `LOCAL_PREFIXES` and `LOCAL_NORMS`."""
    return Grouping(tuple(getattr(model, "LOCAL_PREFIXES", ())), frozenset(getattr(model, "LOCAL_NORMS", ())))


def group_of(name: str, grouping: Grouping = PLAIN) -> str:
    """Return the group of the tensor called `name`: `shared`, `local`, `norms`, `statistics` or `domain/<key>`."""
    if name.startswith(grouping.local):
        return LOCAL
    if name in grouping.norms:
        return NORMS
    parts = name.split(".")
    if parts[0] == STATISTICS:
        return STATISTICS
    if "heads" in parts[:-1]:
        return DOMAIN_PREFIX + parts[parts.index("heads") + 1]
    return SHARED


def by_group(names: Iterable[str], grouping: Grouping = PLAIN) -> dict[str, tuple[str, ...]]:
    """Return the tensor names of each group, groups and names sorted."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(group_of(name, grouping), []).append(name)
    return {group: tuple(groups[group]) for group in sorted(groups)}


def permitted_groups(site: str, domains: Iterable[Domain]) -> frozenset[str]:
    """Return the groups that `site` may send: those of all sites and its own domains', lesion twins included."""
    return frozenset(
        {SHARED, NORMS, STATISTICS} | {DOMAIN_PREFIX + domain.key for domain in domains if domain.site == site}
    )


def known_groups(site: str, domains: Iterable[Domain]) -> frozenset[str]:
    """Return the groups that `site` is sent in every round: the shared ones, every image domain's, its own twins'.

    It draws towards other sites' domains, but compares lesions only with its own. Norms it is sent once, to begin with;
    statistics go up alone.
    """
    known = {DOMAIN_PREFIX + domain.key for domain in domains if domain.site == site or not domain.lesion}
    return frozenset({SHARED} | known)


def travelling(tensors: StateDict, grouping: Grouping) -> StateDict:
    """Return the tensors that a site may be sent, norms to begin with: all but local ones and statistics."""
    staying = {LOCAL, STATISTICS}
    return {name: tensor for name, tensor in tensors.items() if group_of(name, grouping) not in staying}


def digest_of(tensors: StateDict) -> str:
    """Return the SHA-256 over names, types, shapes and bytes of the tensors: the key of a global state."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        if tensor.numel():
            total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
