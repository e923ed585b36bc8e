"""What a site refuses in a secure sum: keys that nobody pinned, other versions of anything, lists of too few sites."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from client.privacy.masking_state import MaskingState
from common.errors import FederationError
from common.secure.attempt import Attempt
from common.secure.given import in_common
from common.secure.messages import Adverts
from common.secure.signatures import verifies

Pinned = Mapping[str, str | None]
"""Public keys by site, from the site's own copy of the roster."""


class MaskingRefusalError(FederationError):
    """The site does not do what the coordinator asks of it in a secure sum; `code` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_adverts(state: MaskingState, adverts: Adverts, pinned: Pinned) -> None:
    """Refuse adverts that differ from those accepted before, that mean another sum, or that no pinned key signed."""
    if state.adverts is not None and state.adverts != adverts:
        raise MaskingRefusalError("other-adverts", "a second set of keys came for the same attempt")
    if adverts.by_site.get(state.advert.site) != state.advert:
        raise MaskingRefusalError("other-adverts", "this site's own keys are missing or changed")
    if len(adverts.adverts) < state.rules.needed:
        raise MaskingRefusalError("too-few-sites", f"{len(adverts.adverts)} sites, {state.rules.needed} must be in")
    for advert in adverts.adverts:
        if advert.attempt != state.attempt:
            raise MaskingRefusalError("other-attempt", f"the keys of {advert.site} are of another attempt")
        theirs, ours = advert.received, state.advert.received
        if in_common(theirs, advert.site, ours) != in_common(ours, state.advert.site, theirs):
            raise MaskingRefusalError("other-model", f"{advert.site} was given another model or plan than this site")
        if not verifies(pinned.get(advert.site), bytes.fromhex(advert.signature), advert.signed):
            raise MaskingRefusalError(
                "unknown-signer", f"the keys of {advert.site} are not signed with the key that roster.toml pins"
            )


def check_list(code: str, state: MaskingState, sites: Collection[str], known: Collection[str]) -> None:
    """Refuse a list of sites that lacks this one, names others than the phase before, or is too short."""
    if state.advert.site not in sites or not set(sites) <= set(known):
        raise MaskingRefusalError(code, "the list lacks this site, or names sites that the phase before did not")
    if len(sites) < state.rules.needed:
        raise MaskingRefusalError("too-few-sites", f"{len(sites)} sites are left, {state.rules.needed} must be")


def check_signed(
    code: str, signatures: Mapping[str, str], sites: Collection[str], data: bytes, pinned: Pinned, needed: int
) -> None:
    """Refuse where fewer than `needed` of `sites` have signed `data` with the keys that the roster pins."""
    valid = [
        site
        for site in sites
        if site in signatures and verifies(pinned.get(site), bytes.fromhex(signatures[site]), data)
    ]
    if len(valid) < needed:
        raise MaskingRefusalError(code, f"{len(valid)} sites have signed the same, {needed} must")


def check_opened(attempt: Attempt, before: tuple[str, ...] | None, survivors: tuple[str, ...]) -> None:
    """Refuse another list than the one `before`, for which this site has helped to open a sum of the same updates.

    Two sums of the same updates over different sites would differ by the updates of a few, or of one.
    """
    if before is not None and before != survivors:
        raise MaskingRefusalError(
            "other-survivors",
            f"a sum of {attempt.stage} round {attempt.round} of this study was opened over {', '.join(before)}; it is "
            "opened over these sites again or not at all. Begin anew with another study, with another seed, say",
        )
