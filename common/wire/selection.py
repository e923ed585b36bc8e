"""Which tensors travel in a coding: the float32 weights of a stage; whole numbers, norms and statistics go exactly."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from common.parameters import LOCAL, NORMS, PLAIN, STATISTICS, Grouping, group_of
from common.records import Declared
from common.wire.coding import Coding


def coding_of(
    declared: Mapping[str, Declared],
    groups: Collection[str],
    setting: Literal["lossless"] | Coding,
    grouping: Grouping = PLAIN,
) -> dict[str, Coding]:
    """Return the coding of each declared tensor of `groups` that is coded; both ends must come to the same."""
    if setting == "lossless":
        return {}
    coded = set(groups) - {LOCAL, NORMS, STATISTICS}
    return {
        name: setting
        for name, tensor in declared.items()
        if tensor.dtype == "float32" and group_of(name, grouping) in coded
    }
