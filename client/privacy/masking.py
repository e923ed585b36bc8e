"""A site's part in a secure sum: it shows keys, deals shares, sends masked numbers, agrees on who is summed, reveals.

At each step the site checks what the coordinator says against what was signed with the keys of its own pinned roster,
answers a repeated request with the same bytes, and refuses a second version of anything it has accepted.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from client.privacy.masking_checks import (
    MaskingRefusalError,
    check_adverts,
    check_list,
    check_opened,
    check_signed,
)
from client.privacy.masking_state import MaskingFolder, MaskingState, Rules
from common.logs import logger
from common.parameters import StateDict
from common.secure.attempt import Attempt
from common.secure.fixed_point import Words, encode
from common.secure.groups import masked_groups, sealed_order, shares_of
from common.secure.keys import (
    SECRET_BYTES,
    AttemptSecrets,
    SecureKeyError,
    pair_seed,
    public_key,
    seal,
    shared_secret,
    unseal,
)
from common.secure.masks import add_mask
from common.secure.messages import (
    Advert,
    Adverts,
    Boxes,
    Dealt,
    Revealed,
    Signatures,
    Signed,
    Survivors,
    against_bytes,
    agreed_bytes,
)
from common.secure.shamir import SHARE_BYTES, deal
from common.secure.signatures import SigningKey, sign

log = logger(__name__)
Part = TypeVar("Part")

MASK_KEY = ""
"""No group is called so."""


@dataclass(frozen=True)
class Masking:
    """One site in one round's secure sum.

    Attributes:
        site: its own name.
        key: with which it signs.
        pinned: public keys by site, from the site's own copy of the roster.
    """

    folder: MaskingFolder
    site: str
    key: SigningKey
    pinned: Mapping[str, str | None]

    def advertise(
        self, attempt: Attempt, rules: Rules, patients: Mapping[str, int], received: Mapping[str, str]
    ) -> Advert:
        """Begin an attempt: draw its secret from the operating system and return its public keys, signed.

        Any other attempt ends the one before it: its secret is gone.

        Args:
            patients: behind each group that the site will send.
            received: digests of what the site trained from (`common.secure.given`).
        """
        before = self.folder.state()
        if before is not None and before.attempt == attempt and before.revealed is None:
            return before.advert
        secrets = AttemptSecrets(os.urandom(SECRET_BYTES), attempt)
        unsigned = Advert(
            site=self.site,
            attempt=attempt,
            cipher_key=public_key(secrets.cipher_key).hex(),
            mask_key=public_key(secrets.mask_key).hex(),
            patients=dict(sorted(patients.items())),
            received=dict(sorted(received.items())),
        )
        advert = unsigned.model_copy(update={"signature": sign(self.key, unsigned.signed).hex()})
        self.folder.keep(MaskingState(attempt=attempt, rules=rules, secret=secrets.secret.hex(), advert=advert))
        return advert

    def deal(self, adverts: Adverts) -> Dealt:
        """Return this site's secrets in shares, one box for every advertised site."""
        state = self._open(adverts.adverts[0].attempt if adverts.adverts else None)
        check_adverts(state, adverts, self.pinned)
        secrets = _secrets(state)
        seeds = {group: secrets.self_seed(group) for group in sealed_order(adverts, self.site)}
        shared = {MASK_KEY: secrets.mask_key} | seeds
        dealt = [
            deal(int.from_bytes(secret), secrets.coefficients(what, state.rules.needed), list(adverts.points.values()))
            for what, secret in shared.items()
        ]
        boxes, digests = {}, {}
        for site, point in adverts.points.items():
            parts = [shares[point].to_bytes(SHARE_BYTES) for shares in dealt]
            agreed = shared_secret(secrets.cipher_key, bytes.fromhex(adverts.by_site[site].cipher_key))
            boxes[site] = seal(agreed, state.attempt, self.site, site, b"".join(parts)).hex()
            digests[site] = tuple(hashlib.sha256(part).hexdigest() for part in parts)
        self.folder.keep(state.model_copy(update={"adverts": adverts}))
        return Dealt(site=self.site, boxes=boxes, digests=digests)

    def mask(self, boxes: Boxes, groups: Mapping[str, StateDict]) -> tuple[dict[str, Words], Signed]:
        """Return the numbers of every group that at least three dealers hold, this site among them, under masks.

        The words of a group are its tensors in the order of their names. With them goes a signature of the keys and the
        dealers that they are masked against.
        """
        state = self._open(boxes.attempt)
        adverts, secrets = _known(state.adverts), _secrets(state)
        dealers = tuple(sorted(boxes.boxes))
        check_list("other-dealers", state, dealers, adverts.by_site)
        if state.boxes is not None and state.boxes != boxes.boxes:
            raise MaskingRefusalError("other-dealers", "a second set of boxes came for the same attempt")
        signed = state.against or self._sign(against_bytes(adverts, dealers))
        self.folder.keep(state.model_copy(update={"boxes": boxes.boxes, "against": signed}))
        held = {group: sites for group, sites in masked_groups(adverts, dealers).items() if self.site in sites}
        words = {
            group: self._masked(state.rules, secrets, adverts, group, holders, groups[group])
            for group, holders in held.items()
        }
        return words, signed

    def agree(self, survivors: Survivors) -> Signed:
        """Sign the list of sites that shall be summed; a second list of the same attempt is refused."""
        state = self._open(survivors.attempt)
        adverts, boxes, sites = _known(state.adverts), _known(state.boxes), survivors.sites
        dealers = tuple(sorted(boxes))
        check_list("other-survivors", state, sites, dealers)
        if state.survivors is not None and state.survivors != sites:
            raise MaskingRefusalError("other-survivors", "a second list of survivors came for the same attempt")
        check_opened(state.attempt, self.folder.opened.survivors(state.attempt), sites)
        if state.agreement is not None:
            return state.agreement
        check_signed(
            "other-dealers", survivors.signatures, sites, against_bytes(adverts, dealers), self.pinned, len(sites)
        )
        agreement = self._sign(agreed_bytes(adverts, dealers, sites))
        self.folder.keep(state.model_copy(update={"survivors": sites, "agreement": agreement}))
        return agreement

    def reveal(self, signatures: Signatures) -> Revealed:
        """Reveal the shares that open the sum, once enough survivors have signed the same list; then forget.

        Of a survivor the shares of its self-masks are revealed, of a site that left those of its mask key, never both.
        """
        state = self._open(signatures.attempt)
        if state.revealed is not None:
            return state.revealed
        adverts, boxes, survivors = _known(state.adverts), _known(state.boxes), _known(state.survivors)
        signed = agreed_bytes(adverts, tuple(sorted(boxes)), survivors)
        needed = state.rules.needed
        check_signed("too-few-signatures", signatures.signatures, survivors, signed, self.pinned, needed)
        check_opened(state.attempt, self.folder.opened.survivors(state.attempt), survivors)
        revealed = self._revealed(state, adverts, boxes, survivors)
        self.folder.opened.keep(state.attempt, survivors)
        self.folder.forget_secrets(state.model_copy(update={"revealed": revealed}))
        return revealed

    def _sign(self, data: bytes) -> Signed:
        return Signed(site=self.site, signature=sign(self.key, data).hex())

    def _open(self, attempt: Attempt | None) -> MaskingState:
        """Return the state of the attempt that a message is about."""
        state = self.folder.state()
        if state is None or state.attempt != attempt:
            raise MaskingRefusalError("other-attempt", "the message is about an attempt that this site is not in")
        return state

    def _masked(
        self,
        rules: Rules,
        secrets: AttemptSecrets,
        adverts: Adverts,
        group: str,
        holders: tuple[str, ...],
        tensors: StateDict,
    ) -> Words:
        """Return one group's words plus the self-mask, plus or minus the mask with each other holder."""
        share = shares_of(adverts, group, holders, rules.weight_cap_patients)[self.site]
        reals = (tensors[name].double().numpy().reshape(-1) for name in sorted(tensors))
        words = np.concatenate([encode(each, share, rules.fraction_bits) for each in reals])
        add_mask(words, secrets.self_seed(group), 1)
        for other in holders:
            if other != self.site:
                agreed = shared_secret(secrets.mask_key, bytes.fromhex(adverts.by_site[other].mask_key))
                seed = pair_seed(agreed, secrets.attempt, self.site, other, group)
                add_mask(words, seed, 1 if self.site < other else -1)
        return words

    def _revealed(
        self, state: MaskingState, adverts: Adverts, boxes: Mapping[str, str], survivors: tuple[str, ...]
    ) -> Revealed:
        mask_keys, self_seeds = {}, {}
        summed = masked_groups(adverts, survivors)
        for dealer in sorted(boxes):
            parts = self._opened(state, adverts, dealer, boxes[dealer])
            if parts is None:
                continue
            if dealer in survivors:
                groups = zip(sealed_order(adverts, dealer), parts[1:], strict=True)
                self_seeds[dealer] = {group: part for group, part in groups if dealer in summed.get(group, ())}
            else:
                mask_keys[dealer] = parts[0]
        return Revealed(site=self.site, mask_keys=mask_keys, self_seeds=self_seeds)

    def _opened(self, state: MaskingState, adverts: Adverts, dealer: str, box: str) -> list[str] | None:
        """Return the shares in a dealer's box, of its mask key and then of its self-masks; None where it is spoilt."""
        agreed = shared_secret(_secrets(state).cipher_key, bytes.fromhex(adverts.by_site[dealer].cipher_key))
        try:
            content = unseal(agreed, state.attempt, dealer, self.site, bytes.fromhex(box))
        except SecureKeyError as error:
            log.warning("%s; its shares are lost to this site", error)
            return None
        if len(content) != SHARE_BYTES * (1 + len(sealed_order(adverts, dealer))):
            log.warning("the box of %s holds %d bytes; its shares are lost to this site", dealer, len(content))
            return None
        return [content[start : start + SHARE_BYTES].hex() for start in range(0, len(content), SHARE_BYTES)]


def _secrets(state: MaskingState) -> AttemptSecrets:
    if not state.secret:
        raise MaskingRefusalError("already-revealed", "the secrets of this attempt are gone: its sum was opened")
    return AttemptSecrets(bytes.fromhex(state.secret), state.attempt)


def _known(part: Part | None) -> Part:
    """Return what an earlier phase left. Raises MaskingRefusalError where that phase has not been."""
    if part is None:
        raise MaskingRefusalError("wrong-phase", "a phase of this attempt was left out")
    return part
