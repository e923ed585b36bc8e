"""What a reader must know about a completion: what was not drawn, and why."""

from __future__ import annotations

from collections.abc import Container

from client.inference.barrier import GADOLINIUM_ALONE
from client.inference.completion import UNKNOWN_CENTRE
from client.inference.one_case import OneCase
from common.sequences import Sequence
from common.settings.stages import MapsStage


def centre_remarks(case: OneCase, site: str | None) -> tuple[str, ...]:
    """Say that the release does not know the `site` that was given."""
    if case.site is not None:
        return ()
    return (f"centre: {UNKNOWN_CENTRE}" + (f" (given as {site})" if site else ""),)


def fill_remarks(case: OneCase, wanted: tuple[Sequence, ...], filled: Container[Sequence]) -> tuple[str, ...]:
    """Say which sequences are neither real nor filled."""
    return tuple(
        f"{sequence}: cannot be filled, since no site of the release holds it"
        for sequence in wanted
        if sequence not in case.real and sequence not in filled
    )


def hypotheses_remarks(case: OneCase) -> tuple[str, ...]:
    """Say why nothing was drawn from images with gadolinium alone."""
    if case.models.synthesiser is None or case.without_gadolinium():
        return ()
    return (f"T1Gd under either hypothesis: not drawn, {GADOLINIUM_ALONE}",)


def map_remarks(case: OneCase, settings: MapsStage | None, is_drawn: bool) -> tuple[str, ...]:
    """Say why a target of the maps stage that the case lacks was not drawn."""
    if settings is None or settings.target in case.real or is_drawn:
        return ()
    needed = ", ".join(settings.inputs)
    needed = f"all of {needed}" if settings.subsets == "all-inputs" else f"one of {needed}"
    return (f"{settings.target}: not drawn by the maps model, which needs {needed}",)
