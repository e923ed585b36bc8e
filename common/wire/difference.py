"""What a site's training changed, and error feedback: what rounding took from one round is added to the next.

Seide 2014 ("1-bit stochastic gradient descent") and Karimireddy 2019 (ICML, alg. 1): sent = Q(change + residual),
residual' = change + residual - sent. Over the rounds what arrives sums up to what was learnt, whatever Q is.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from common.wire.coding import Coded, Coding, decode, encode


@dataclass(frozen=True)
class Sent:
    """A coded change, and what of it was rounded off."""

    coded: Coded
    residual: Tensor


def send_change(trained: Tensor, received: Tensor, residual: Tensor | None, coding: Coding) -> Sent:
    """Code what training made of a tensor that was `received`, and what had been rounded off before.

    Values that are not finite leave no residual: the gate refuses them, and the next round begins without.
    """
    change = trained - received
    if residual is not None:
        change = change + residual
    coded = encode(change, coding)
    lost = change - decode(coded, coding, tuple(change.shape))
    return Sent(coded, lost.nan_to_num(0.0, 0.0, 0.0))


def restore(change: Tensor, master: Tensor) -> Tensor:
    """Return the tensor that a change makes of the coordinator's own.

    The change counts from what the site received; added to the float32 master, what a coded downlink rounded off is
    neither lost nor sent back.
    """
    return master + change
