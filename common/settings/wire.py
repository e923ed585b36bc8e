"""`[wire]`: how exactly tensors travel between coordinator and sites."""

from __future__ import annotations

from typing import Literal

from common.settings.frozen import Frozen


class Wire(Frozen):
    """`down` codes the global tensors that the sites receive, `up` the difference that a site's training made to them.

    `"lossless"` sends every bit. What `up` rounds off, a site keeps and adds to what it sends in the next round.
    """

    down: Literal["lossless", "bf16"] = "lossless"
    up: Literal["lossless", "bf16", "int8"] = "lossless"
