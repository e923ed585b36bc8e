"""The roster: who was admitted, from which node, with which key; parsed strictly."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.errors import StudyError
from common.roster_file import Roster, RosterSite, load_roster, parse_roster, write_roster


def pem(key: PublicKeyTypes) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_a_roster_comes_back_from_its_file_with_nodes_beyond_63_bits(tmp_path: Path) -> None:
    sites = {
        "b": RosterSite(node=2**64 - 1, signing_key=pem(ed25519.Ed25519PrivateKey.generate().public_key())),
        "a": RosterSite(node=2, signing_key=pem(ec.generate_private_key(ec.SECP384R1()).public_key())),
        "c": RosterSite(node=3),
    }
    roster = Roster(sites=sites)
    write_roster(tmp_path / "roster.toml", roster)
    read = load_roster(tmp_path / "roster.toml")
    assert read == roster and read.digest == roster.digest
    assert list(read.nodes.items()) == [("a", 2), ("b", 2**64 - 1), ("c", 3)]


def test_a_key_of_another_kind_and_a_private_one_are_refused() -> None:
    for key in (
        rsa.generate_private_key(65537, 2048).public_key(),
        ec.generate_private_key(ec.SECP256R1()).public_key(),
    ):
        with pytest.raises(ValueError, match="P-384 or Ed25519"):
            RosterSite(node=2, signing_key=pem(key))
    with pytest.raises(ValueError, match="never its private one"):
        RosterSite(node=2, signing_key="-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[sites.a]\nnode = 2\n[sites.b]\nnode = 2\n", "same node"),
        ("[sites.a]\nnode = 0\n", "sites.a.node"),
        ('[sites.a]\nnode = "2"\n', "sites.a.node"),
        ("[sites.a]\nnode = 2\nnodes = 3\n", "unknown key"),
        ("[sites.A]\nnode = 2\n", "lower-case"),
        ("schema_version = 2\n[sites.a]\nnode = 2\n", "schema_version"),
        ("sites = {}\n", "sites"),
        ("[sites.a\n", "not valid TOML"),
    ],
)
def test_a_wrong_roster_is_refused_with_what_is_wrong(text: str, complaint: str) -> None:
    with pytest.raises(StudyError, match=complaint):
        parse_roster(text)


def test_one_key_in_two_texts_is_still_one_key() -> None:
    text = pem(ed25519.Ed25519PrivateKey.generate().public_key())
    sites = {"a": RosterSite(node=2, signing_key=text), "b": RosterSite(node=3, signing_key="of b\n" + text.strip())}
    with pytest.raises(ValueError, match="same signing_key"):
        Roster(sites=sites)


def test_a_missing_roster_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"roster\.toml"):
        load_roster(tmp_path / "roster.toml")
