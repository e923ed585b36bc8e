"""What is said around a secure sum, in the order of its five phases, as strict texts of bounded size.

1. train: the site trains, keeps its update, and answers with an `Advert`: keys of this attempt, signed.
2. shares: all adverts go to every site (`Adverts`); each answers with its secrets in shares (`Dealt`).
3. masked: each site gets the boxes meant for it (`Boxes`) and answers with its masked update, and signs against whom
   it was masked (`Signed`).
4. agree: the sites whose masked updates arrived (`Survivors`) see that all mean the same, and sign the list (`Signed`).
5. unmask: with a threshold of signatures (`Signatures`) each reveals one kind of share a site (`Revealed`).
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from common.secure.attempt import Attempt, Digest
from common.secure.shamir import SHARE_BYTES
from common.settings.frozen import Frozen, SiteName
from common.settings.secure_aggregation import MAXIMUM_SITES

SHARES, MASKED, AGREE, UNMASK = "shares", "masked", "agree", "unmask"
"""Flower actions of the phases after training, and the keys of their texts and arrays."""

ATTEMPT, ADVERT, AGAINST = "attempt", "advert", "against"
MAX_GROUPS = 1024

GroupName = Annotated[str, StringConstraints(max_length=128, pattern=r"^[^\n]+$")]
Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[str, StringConstraints(pattern=rf"^[0-9a-f]{{{2 * SHARE_BYTES}}}$")]
Box = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2})+$", max_length=262144)]
Signature = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2})+$", max_length=320)]
Patients = Annotated[int, Field(ge=1, le=10_000_000)]
BySite = Field(max_length=MAXIMUM_SITES)


class AttemptNumber(Frozen):
    """Which attempt a task is; a higher one than before asks for fresh keys."""

    attempt: Annotated[int, Field(ge=1, le=10_000_000)]


class Advert(Frozen):
    """A site's public keys of one attempt, and the groups it will send with the patients behind them, signed.

    `received` names what the site trained from (`common.secure.given`), by digest. Sites that were given different
    things refuse to be summed, so that a coordinator cannot single one out by a model of its own
    (Pasquini 2022, Eluding secure aggregation via model inconsistency).
    """

    site: SiteName
    attempt: Attempt
    cipher_key: Key
    mask_key: Key
    patients: Annotated[dict[GroupName, Patients], Field(max_length=MAX_GROUPS)]
    received: Annotated[dict[GroupName, Digest], Field(max_length=MAX_GROUPS)]
    signature: Signature = "00"

    @property
    def signed(self) -> bytes:
        """The bytes that the signature is over."""
        return b"gliofed advert 1\n" + self.model_dump_json(exclude={"signature"}).encode()


class Adverts(Frozen):
    """Everybody's adverts, sorted by site."""

    adverts: Annotated[tuple[Advert, ...], BySite]

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [advert.site for advert in self.adverts]
        if names != sorted(set(names)):
            raise ValueError("adverts must name each site once, in sorted order")
        return self

    @property
    def by_site(self) -> dict[str, Advert]:
        """The adverts by the name of their site."""
        return {advert.site: advert for advert in self.adverts}

    @property
    def points(self) -> dict[str, int]:
        """The point at which each site's shares are evaluated."""
        return {advert.site: number for number, advert in enumerate(self.adverts, start=1)}

    @property
    def digest(self) -> str:
        """SHA-256 of all adverts."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


class Dealt(Frozen):
    """One site's secrets in shares: a box for every site, and what each share hashes to.

    `digests` let the coordinator tell a false share; a share is uniform over 521 bits, so its hash tells nothing of it.
    """

    site: SiteName
    boxes: Annotated[dict[SiteName, Box], BySite]
    digests: Annotated[dict[SiteName, Annotated[tuple[Digest, ...], Field(max_length=MAX_GROUPS + 1)]], BySite]


class Boxes(Frozen):
    """The boxes meant for one site, by the site that dealt; who is not named has left the attempt."""

    attempt: Attempt
    boxes: Annotated[dict[SiteName, Box], BySite]


class Survivors(Frozen):
    """The sites whose masked updates are in, and shall be summed, each with its signature of `against_bytes`."""

    attempt: Attempt
    signatures: Annotated[dict[SiteName, Signature], BySite]

    @property
    def sites(self) -> tuple[str, ...]:
        """The survivors, sorted."""
        return tuple(sorted(self.signatures))


class Signed(Frozen):
    """One site's signature of what a phase is about."""

    site: SiteName
    signature: Signature


class Signatures(Frozen):
    """The survivors' signatures, by site."""

    attempt: Attempt
    signatures: Annotated[dict[SiteName, Signature], BySite]


class Revealed(Frozen):
    """The shares one site holds: of the mask keys of sites that left, and of the self-masks of the survivors."""

    site: SiteName
    mask_keys: Annotated[dict[SiteName, Share], BySite] = Field(default_factory=dict)
    self_seeds: Annotated[dict[SiteName, dict[GroupName, Share]], BySite] = Field(default_factory=dict)


def against_bytes(adverts: Adverts, dealers: tuple[str, ...]) -> bytes:
    """Return what a site signs with its masked update: under which keys and against whom it was masked.

    Without it a coordinator could let one site mask against sites that it then calls lost, and uncover that site.
    """
    return "\n".join(["gliofed masked against 1", adverts.digest, " ".join(dealers)]).encode()


def agreed_bytes(adverts: Adverts, dealers: tuple[str, ...], survivors: tuple[str, ...]) -> bytes:
    """Return what a survivor signs: who was there at each phase, under which keys."""
    lines = ["gliofed survivors 1", adverts.digest, " ".join(dealers), " ".join(survivors)]
    return "\n".join(lines).encode()
