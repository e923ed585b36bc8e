"""Which sum is meant: the context that every key, mask, share and signature of secure aggregation is bound to."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from common.settings.frozen import Frozen
from common.settings.stages import Stage

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Attempt(Frozen):
    """One attempt at one round's sum; `global_sha256` is the coordinator's name for the round's global weights."""

    run: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    stage: Stage
    round: Annotated[int, Field(ge=1, le=10_000_000)]
    attempt: Annotated[int, Field(ge=1, le=10_000_000)]
    study_digest: Digest
    global_sha256: Digest

    @property
    def context(self) -> bytes:
        """The attempt as bytes, the same for equal attempts and for no others."""
        return ("gliofed secure aggregation 1\n" + self.model_dump_json()).encode()
