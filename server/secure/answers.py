"""What the sites say in a secure sum, checked before it is used: names, sizes, signatures, and which sum they mean."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from flwr.app import RecordDict

from common.parameters import DOMAIN_PREFIX, LOCAL, StateDict, group_of
from common.records import (
    ANSWER,
    OK,
    UPDATE,
    Answer,
    Declared,
    WireError,
    arrays_of,
    read_metrics,
    read_text,
    unpack_tensors,
)
from common.secure.attempt import Attempt
from common.secure.fixed_point import Words
from common.secure.groups import masked_groups, sealed_order
from common.secure.keys import SECRET_BYTES, SecureKeyError, shared_secret
from common.secure.messages import (
    ADVERT,
    AGAINST,
    AGREE,
    MASKED,
    SHARES,
    UNMASK,
    Advert,
    Adverts,
    Dealt,
    Revealed,
    Signed,
    against_bytes,
)
from common.secure.signatures import verifies
from common.secure.words import unpack_words
from server.aggregation.secret_shares import ShareBook
from server.stages import StageModel

Named = TypeVar("Named", Advert, Dealt, Signed, Revealed)

PROBE = b"p" * SECRET_BYTES
"""A private key that protects nothing: any would tell whether a public one can be used."""


@dataclass(frozen=True)
class SecureAnswers:
    """What is expected in one attempt.

    Attributes:
        pinned: public keys by site, from the coordinator's roster.
    """

    model: StageModel
    pinned: Mapping[str, str | None]

    def advert(
        self, site: str, content: RecordDict, attempt: Attempt, given: Mapping[str, str]
    ) -> tuple[Advert, dict[str, Any]]:
        """Return a site's keys and its entry in the round's record.

        Whatever another site would refuse in them is refused here, so that one site cannot end everybody's attempt.

        Args:
            attempt: which they must be of.
            given: the digests of what the site was sent to train from.
        """
        answer, advert = read_text(content, ANSWER, Answer), _own(content, ADVERT, Advert, site)
        if advert.attempt != attempt:
            raise WireError("other-attempt", "the keys are of another attempt")
        if advert.received != given:
            raise WireError("other-model", "the site says that it was given something else than it was sent")
        if advert.patients != answer.patients or not advert.patients:
            raise WireError("malformed", "the signed counts of patients are not those of the answer")
        foreign = sorted(set(advert.patients) - (self.model.gate.permitted[site] - {LOCAL}))
        if foreign:
            raise WireError("foreign-group", f"{len(foreign)} groups are not the site's: {foreign[0]:.120}")
        if not verifies(self.pinned.get(site), bytes.fromhex(advert.signature), advert.signed):
            raise WireError("unknown-signer", "the keys are not signed with the key that the roster pins")
        _check_keys(advert)
        facts = {"metrics": read_metrics(content), "withheld": list(answer.withheld), "withdrawn": answer.withdrawn}
        return advert, {"code": OK, **facts, **({"spent": answer.spent.model_dump()} if answer.spent else {})}

    def dealt(self, site: str, content: RecordDict, adverts: Adverts) -> Dealt:
        """Return a site's boxes, one for every advertised site."""
        dealt = _own(content, SHARES, Dealt, site)
        kinds = 1 + len(sealed_order(adverts, site))
        if set(dealt.boxes) != set(adverts.by_site) or set(dealt.digests) != set(adverts.by_site):
            raise WireError("malformed", "the boxes are not one for each site")
        if any(len(digests) != kinds for digests in dealt.digests.values()):
            raise WireError("malformed", f"each site must have {kinds} shares")
        return dealt

    def masked(
        self, site: str, content: RecordDict, adverts: Adverts, dealers: tuple[str, ...]
    ) -> tuple[dict[str, Words], StateDict, Signed]:
        """Return a site's masked numbers by group, the heads of its own that it sends in clear, and its signature."""
        floating = {name: declared for name, declared in self.model.gate.declared.items() if declared.is_floating}
        sizes: Counter[str] = Counter()
        clear: dict[str, Declared] = {}
        mine = {group for group, holders in masked_groups(adverts, dealers).items() if site in holders}
        for name, declared in floating.items():
            group = group_of(name, self.model.grouping)
            if group in mine:
                sizes[group] += math.prod(declared.shape)
            elif group.startswith(DOMAIN_PREFIX) and group in adverts.by_site[site].patients:
                clear[name] = declared
        signed = self._signed(site, content, AGAINST, against_bytes(adverts, dealers))
        words = unpack_words(arrays_of(content, MASKED), sizes)
        heads = unpack_tensors(arrays_of(content, UPDATE), clear)
        if not all(bool(tensor.isfinite().all()) for tensor in heads.values()):
            raise WireError("not-finite", "NaN or infinity in heads sent in clear")
        return words, heads, signed

    def agreement(self, site: str, content: RecordDict, data: bytes) -> Signed:
        """Return a site's signature of the list of survivors."""
        return self._signed(site, content, AGREE, data)

    def revealed(self, site: str, content: RecordDict, book: ShareBook) -> Revealed:
        """Return the shares that a site shows, all of them as they were dealt."""
        revealed = _own(content, UNMASK, Revealed, site)
        if book.false_shares(revealed):
            raise WireError("false-share", "a share is not the one that was dealt")
        return revealed

    def _signed(self, site: str, content: RecordDict, key: str, data: bytes) -> Signed:
        signed = _own(content, key, Signed, site)
        if not verifies(self.pinned.get(site), bytes.fromhex(signed.signature), data):
            raise WireError("unknown-signer", f"{key!r} is not signed with the key that the roster pins")
        return signed


def _check_keys(advert: Advert) -> None:
    """Refuse keys with which nobody can share a secret."""
    try:
        for key in (advert.cipher_key, advert.mask_key):
            shared_secret(PROBE, bytes.fromhex(key))
    except SecureKeyError as error:
        raise WireError(error.code, str(error)) from None


def _own(content: RecordDict, key: str, kind: type[Named], site: str) -> Named:
    """Parse a text that names its site, which must be the one that was asked."""
    text = read_text(content, key, kind)
    if text.site != site:
        raise WireError("wrong-site", f"the text of {site} names {text.site}")
    return text
