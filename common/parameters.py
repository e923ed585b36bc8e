"""Parameter groups: which tensors of a model every site shares, which a domain owns, and which never leave a site.

A head that belongs to a domain lives in a `ModuleDict` called `heads`, keyed by `Domain.key`: its tensors are
`….heads.<site>:<sequence>[:lesion].…`. A tensor is local where the model names its prefix in `LOCAL_PREFIXES`.
Tensors below `statistics` are means over patients, not weights, and leave a site under the rule for numbers.
All the rest is shared.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from common.sequences import Domain

SHARED = "shared"
LOCAL = "local"
STATISTICS = "statistics"
DOMAIN_PREFIX = "domain/"

StateDict = dict[str, torch.Tensor]


def group_of(name: str, local_prefixes: tuple[str, ...] = ()) -> str:
    """Return the group of the tensor called `name`: `shared`, `local`, `statistics` or `domain/<key>`."""
    if name.startswith(local_prefixes):
        return LOCAL
    parts = name.split(".")
    if parts[0] == STATISTICS:
        return STATISTICS
    if "heads" in parts[:-1]:
        return DOMAIN_PREFIX + parts[parts.index("heads") + 1]
    return SHARED


def by_group(names: Iterable[str], local_prefixes: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """Return the tensor names of each group, groups and names sorted."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(group_of(name, local_prefixes), []).append(name)
    return {group: tuple(groups[group]) for group in sorted(groups)}


def permitted_groups(site: str, domains: Iterable[Domain]) -> frozenset[str]:
    """Return the groups that `site` may send: the shared ones and its own domains', lesion twins included."""
    return frozenset({SHARED, STATISTICS} | {DOMAIN_PREFIX + domain.key for domain in domains if domain.site == site})


def local_prefixes(model: torch.nn.Module) -> tuple[str, ...]:
    """Return the prefixes of the tensors that `model` declares as the site's own."""
    return tuple(getattr(model, "LOCAL_PREFIXES", ()))


def travelling_state(model: torch.nn.Module) -> StateDict:
    """Return the tensors of `model` that go to the sites: all but the local ones."""
    prefixes = local_prefixes(model)
    return {name: tensor for name, tensor in model.state_dict().items() if group_of(name, prefixes) != LOCAL}
