"""What a site starts a round from: global groups that it holds, those that have just come among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from client.training.held_tensors import HeldTensors
from common.parameters import StateDict


def starting_point(held: HeldTensors, groups: Mapping[str, str], earlier: Iterable[str]) -> StateDict | None:
    """Return the tensors of `groups`, or None where some of them must be sent again, or an earlier model.

    Args:
        groups: group → digest.
        earlier: digests of the earlier models, which are opened where they are used.
    """
    if held.missing((*groups.values(), *earlier)):
        return None
    return {name: tensor for digest in groups.values() for name, tensor in held.tensors(digest).items()}
