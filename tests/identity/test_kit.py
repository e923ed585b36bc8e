"""A kit is six pages under one signature, without a secret; anything else is refused before it touches the disk."""

from __future__ import annotations

import contextlib
import io
import zipfile
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import GliofedError, StudyError
from common.identity.card import read_card
from common.identity.kit import MAX_KIT, MEMBERS, open_kit, pack_kit
from common.identity.signing import Purpose, SignatureError, SigningKey
from tests.identity.conftest import HOST, World


def zipped(pages: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    kept = io.BytesIO()
    with zipfile.ZipFile(kept, "w", compression) as archive:
        for name, page in pages.items():
            archive.writestr(name, page)
    return kept.getvalue()


@pytest.fixture
def kit(world: World) -> bytes:
    world.admit("hospital-a")
    return world.consortium.kit("hospital-a").read_bytes()


def test_a_kit_says_where_the_server_is_and_who_signs(world: World, kit: bytes) -> None:
    opened = open_kit(kit)
    assert (opened.card.name, opened.card.address) == ("glioma-net", f"{HOST}:443")
    assert opened.signer == world.key.public
    assert list(opened.roster.sites) == ["hospital-a"]
    assert pack_kit(opened.pages) == kit


def test_a_kit_holds_no_secret(kit: bytes) -> None:
    assert b"PRIVATE" not in kit
    assert set(open_kit(kit).pages) == set(MEMBERS)


@pytest.mark.parametrize("name", MEMBERS)
def test_no_page_can_be_exchanged(world: World, kit: bytes, name: str) -> None:
    other = World(world.folder / "other", type(world.consortium)(world.folder / "other"), type(world.register)())
    from server.consortium.beginning import begin_consortium

    begin_consortium(other.consortium, world.consortium.settings)
    other.admit("hospital-a")
    pages = dict(open_kit(kit).pages) | {name: other.kit("hospital-a").pages[name]}
    with pytest.raises(GliofedError):
        open_kit(zipped(pages))


def test_a_page_of_an_older_kit_of_the_same_signer_is_refused(world: World, kit: bytes) -> None:
    world.admit("hospital-b")
    newer = dict(world.kit("hospital-a").pages)
    for name in ("roster.toml", "roster.toml.sig"):
        newer[name] = open_kit(kit).pages[name]
    with pytest.raises(StudyError, match=r"roster\.toml: not the one that consortium\.json names"):
        open_kit(zipped(newer))


def test_a_signature_for_another_purpose_does_not_hold(world: World, kit: bytes) -> None:
    pages = dict(open_kit(kit).pages)
    pages["consortium.json.sig"] = world.key.sign(Purpose.ROSTER, pages["consortium.json"]).encode()
    with pytest.raises(SignatureError):
        open_kit(zipped(pages))


@pytest.mark.parametrize(
    "name", ["../site.toml", "/etc/passwd", "kit/ca.crt", "ca.crt ", "CA.CRT", "a\\b", "roster.toml/", "x" * 300]
)
def test_any_other_name_is_refused_unread(kit: bytes, name: str) -> None:
    with pytest.raises(StudyError, match="and nothing else"):
        open_kit(zipped(dict(open_kit(kit).pages) | {name: b""}))


def test_a_missing_and_a_doubled_page_are_refused(kit: bytes) -> None:
    pages = dict(open_kit(kit).pages)
    kept = io.BytesIO(zipped(pages))
    with zipfile.ZipFile(kept, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("ca.crt", b"")
    with pytest.raises(StudyError, match="each once"):
        open_kit(kept.getvalue())
    del pages["ca.crt"]
    with pytest.raises(StudyError, match="each once"):
        open_kit(zipped(pages))


def test_a_compressed_page_is_refused_before_it_is_unfolded(kit: bytes) -> None:
    pages = dict(open_kit(kit).pages) | {"ca.crt": b"0" * (64 * 1024 * 1024)}
    bomb = zipped(pages, zipfile.ZIP_DEFLATED)
    assert len(bomb) < MAX_KIT
    with pytest.raises(StudyError, match="compressed"):
        open_kit(bomb)
    with pytest.raises(StudyError, match="larger than"):
        open_kit(bytes(MAX_KIT + 1))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_damaged_kit_is_refused_clearly_or_is_the_same_kit(kit: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(kit) - 1))
    piece = data.draw(st.binary(max_size=8))
    damaged = kit[:place] + piece + kit[place + data.draw(st.integers(0, 64)) :]
    with contextlib.suppress(GliofedError):
        assert open_kit(damaged).pages == open_kit(kit).pages


@given(st.binary(max_size=300).map(lambda tail: b"PK\x05\x06" + tail))
def test_any_bytes_are_refused_clearly(raw: bytes) -> None:
    with pytest.raises(GliofedError):
        open_kit(raw)


@given(st.binary(max_size=300))
def test_any_card_is_refused_clearly(raw: bytes) -> None:
    with pytest.raises(StudyError):
        read_card(raw)


def test_an_ipv6_server_is_addressed_in_brackets(kit: bytes) -> None:
    card = open_kit(kit).card.model_copy(update={"host": "2001:db8::7"})
    assert card.address == "[2001:db8::7]:443"
    assert read_card(card.to_json()) == card
    assert card.issued <= datetime.now(UTC)


def test_the_key_of_another_is_not_the_signers(kit: bytes) -> None:
    assert not open_kit(kit).signer.has_fingerprint(SigningKey.generate().public.fingerprint)
