"""Sites with keys and a roster, and a coordinator whose phases a test plays by hand, rightly or wrongly."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from client.privacy.masking import Masking
from client.privacy.masking_state import MaskingFolder, Rules
from common.records import Declared
from common.secure.attempt import Attempt
from common.secure.fixed_point import Words
from common.secure.messages import Adverts, Boxes, Dealt, Revealed, Signatures, Signed, Survivors
from common.settings.stages import Stage
from server.aggregation.secret_shares import ShareBook
from server.aggregation.secure import MaskedSum

SHARED = "shared"
CAP, FRACTION_BITS = 1000, 24


def attempt_of(number: int = 1, **changes: object) -> Attempt:
    facts = {
        "run": "0" * 16,
        "stage": Stage.GENERATOR,
        "round": 1,
        "attempt": number,
        "study_digest": "1" * 64,
        "global_sha256": "2" * 64,
    }
    return Attempt.model_validate(facts | changes)


@dataclass
class Sum:
    """A sum as the test's coordinator sees it, phase by phase; `words` are what it could keep of each site."""

    sites: dict[str, Masking]
    updates: Mapping[str, Mapping[str, torch.Tensor]]
    patients: Mapping[str, Mapping[str, int]]
    needed: int
    attempt: Attempt = field(default_factory=attempt_of)
    received: Mapping[str, str] = field(default_factory=lambda: {SHARED: "3" * 64})
    dealt: dict[str, Dealt] = field(default_factory=dict)
    words: dict[str, dict[str, Words]] = field(default_factory=dict)
    against: dict[str, Signed] = field(default_factory=dict)

    def move_to(self, root: Path, attempt: Attempt) -> Sum:
        """Begin another sum, of an attempt of another round, say, in other folders."""
        self.attempt = attempt
        for name, site in self.sites.items():
            self.sites[name] = replace(site, folder=MaskingFolder.of(root / name, attempt))
        return self

    def advertise(self) -> Adverts:
        rules = Rules(needed=self.needed, weight_cap_patients=CAP, fraction_bits=FRACTION_BITS)
        self.adverts = Adverts(
            adverts=tuple(
                site.advertise(self.attempt, rules, self.patients[name], self.received)
                for name, site in sorted(self.sites.items())
            )
        )
        return self.adverts

    def deal(self, lost: Collection[str] = ()) -> dict[str, Dealt]:
        self.dealt = {name: self.sites[name].deal(self.adverts) for name in self.adverts.by_site if name not in lost}
        return self.dealt

    def boxes_for(self, site: str) -> Boxes:
        return Boxes(attempt=self.attempt, boxes={dealer: each.boxes[site] for dealer, each in self.dealt.items()})

    def groups_of(self, site: str) -> dict[str, dict[str, torch.Tensor]]:
        return {group: {f"{group}.x": tensor} for group, tensor in self.updates[site].items()}

    def mask(self, lost: Collection[str] = ()) -> dict[str, dict[str, Words]]:
        masked = {
            name: self.sites[name].mask(self.boxes_for(name), self.groups_of(name))
            for name in self.dealt
            if name not in lost
        }
        self.words = {name: words for name, (words, _) in masked.items()}
        self.against = {name: signed for name, (_, signed) in masked.items()}
        return self.words

    @property
    def survivors(self) -> Survivors:
        return self.listing(*self.words)

    def listing(self, *sites: str) -> Survivors:
        """The list of these sites, with the signatures of those that gave one."""
        signatures = {site: self.against[site].signature if site in self.against else "00" for site in sites}
        return Survivors(attempt=self.attempt, signatures=signatures)

    def agree(self, lost: Collection[str] = ()) -> dict[str, Signed]:
        return {name: self.sites[name].agree(self.survivors) for name in self.survivors.sites if name not in lost}

    def signatures(self, agreed: Mapping[str, Signed]) -> Signatures:
        return Signatures(attempt=self.attempt, signatures={name: each.signature for name, each in agreed.items()})

    def reveal(self, agreed: Mapping[str, Signed], lost: Collection[str] = ()) -> dict[str, Revealed]:
        return {name: self.sites[name].reveal(self.signatures(agreed)) for name in agreed if name not in lost}

    def masked_sum(self) -> MaskedSum:
        return MaskedSum(
            adverts=self.adverts,
            dealers=tuple(sorted(self.dealt)),
            survivors=self.survivors.sites,
            words=lambda site, group: self.words[site][group],
            cap=CAP,
            fraction_bits=FRACTION_BITS,
        )

    def open(self, revealed: Mapping[str, Revealed]) -> dict[str, torch.Tensor]:
        opened = ShareBook(self.adverts, self.dealt, self.survivors.sites, self.needed).open(revealed)
        layout = {
            group: {f"{group}.x": Declared("float32", tuple(tensor.shape))}
            for update in self.updates.values()
            for group, tensor in update.items()
        }
        return {name.removesuffix(".x"): mean for name, mean in self.masked_sum().mean(opened, layout).items()}

    def play(self, **lost: Collection[str]) -> dict[str, torch.Tensor]:
        """Play all phases; `lost` names the sites that do not answer in a phase, nor after it."""
        self.advertise()
        self.deal(lost.get("deal", ()))
        self.mask(lost.get("mask", ()))
        agreed = self.agree(lost.get("agree", ()))
        return self.open(self.reveal(agreed, lost.get("reveal", ())))

    def plain(self, names: Collection[str], group: str = SHARED) -> torch.Tensor:
        """The mean over `names` as it is without any of this."""
        parts = [(min(self.patients[name][group], CAP), self.updates[name][group].double()) for name in sorted(names)]
        total = sum(weight * tensor for weight, tensor in parts)
        return total / sum(weight for weight, _ in parts)  # type: ignore[return-value,union-attr]


def make_sum(
    root: Path,
    count: int,
    size: int = 20,
    needed: int = 3,
    groups: Mapping[str, Collection[int]] | None = None,
    patients: int = 7,
) -> Sum:
    """A sum over sites `s0` … of random updates; `groups` says which sites hold which group, all of them `shared`."""
    names = [f"s{number}" for number in range(count)]
    keys = {name: Ed25519PrivateKey.generate() for name in names} | {"s0": generate_private_key(SECP384R1())}
    pinned = {
        name: key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        for name, key in keys.items()
    }
    held = {SHARED: range(count)} | dict(groups or {})
    generator = torch.Generator().manual_seed(count)
    updates = {
        name: {group: torch.randn(size, generator=generator) for group, holders in held.items() if number in holders}
        for number, name in enumerate(names)
    }
    folders = {name: MaskingFolder.of(root / name, attempt_of()) for name in names}
    sites = {name: Masking(folders[name], name, keys[name], pinned) for name in names}
    counts = {name: dict.fromkeys(updates[name], patients + 3 * number) for number, name in enumerate(names)}
    return Sum(sites, updates, counts, needed)


@pytest.fixture
def secure(tmp_path: Path) -> SimpleNamespace:
    """What the tests build with."""
    return SimpleNamespace(
        make=lambda *given, **named: make_sum(tmp_path, *given, **named), attempt_of=attempt_of, root=tmp_path
    )
