"""The next global tensors from the updates on disk: each parameter group over the sites that trained it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from safetensors import safe_open

from common.parameters import PLAIN, Grouping, StateDict, group_of
from server.aggregation.rule import Rule
from server.aggregation.weighted import SpooledUpdate

BLOCK_BYTES = 64 * 1024**2
"""Bytes of tensors that are summed before the next ones are read: what the coordinator holds beside the model."""


def trained_groups(updates: Iterable[SpooledUpdate]) -> Counter[str]:
    """Return how many sites trained each group."""
    return Counter(group for update in updates for group in update.patients)


def aggregate(
    current: StateDict,
    updates: Iterable[SpooledUpdate],
    cap: int,
    grouping: Grouping = PLAIN,
    rule: Rule = Rule(),  # noqa: B008 (immutable)
) -> StateDict:
    """Return the next global tensors; the mean is theta_g = sum_s w_s theta_s / sum_s w_s over the sites of group g.

    w_s is the number of the site's patients that touched g, at most `cap`. Sums run in float64 over the sites in sorted
    order, a block of tensors at a time, so that neither the order of arrival nor the number of sites shows in the bytes
    or, under the mean, in the memory. A group that nobody trained, or that the rule refuses, keeps its value; so do
    tensors of whole numbers, which have no mean.

    Args:
        current: the global tensors of the round's start.
        updates: accepted updates; a file holds the floating-point tensors of the groups that it names.
        cap: largest weight of a site.
        grouping: which tensors are a site's own.
        rule: how the sites' values become one.
    """
    ordered = sorted(updates, key=lambda update: update.site)
    moving = {group for group, sites in trained_groups(ordered).items() if not rule.refuses(group, sites)}
    groups = {name: group_of(name, grouping) for name in sorted(current) if current[name].is_floating_point()}
    names = [name for name, group in groups.items() if group in moving]
    merged = {name: current[name].clone() for name in sorted(current)}
    room = BLOCK_BYTES // (len(ordered) if rule.robust and ordered else 1)
    for block in _blocks(names, current, room):
        found = {name: rule.combiner(groups[name]) for name in block}
        for update in ordered:
            with safe_open(update.path, framework="pt") as file:
                for name in block:
                    if groups[name] in update.patients:
                        found[name].add(min(update.patients[groups[name]], cap), file.get_tensor(name))
        for name in block:
            merged[name] = found[name].value().to(current[name].dtype)
    return merged


def _blocks(names: Sequence[str], tensors: StateDict, room: int) -> Iterator[list[str]]:
    """Cut `names` into runs whose tensors take at most `room` bytes together, or are single."""
    block: list[str] = []
    taken = 0
    for name in names:
        size = tensors[name].numel() * tensors[name].element_size()
        if block and taken + size > room:
            yield block
            block, taken = [], 0
        block.append(name)
        taken += size
    if block:
        yield block
