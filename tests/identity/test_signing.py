"""A signature holds for one key, one purpose and one content, and for nothing else."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
    load_ssh_private_key,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import GliofedError, PolicyError, StudyError
from common.identity.signing import Purpose, SignatureError, SigningKey, VerifyKey, read_signed, write_signed
from common.identity.site_key import create_site_key, load_site_key
from common.secure.signatures import load_signing_key


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


def test_a_signature_verifies_with_its_own_key_purpose_and_content_alone(key: SigningKey) -> None:
    signature = key.sign(Purpose.PLAN, b"plan")
    key.public.verify(Purpose.PLAN, b"plan", signature)
    for other, purpose, blob in (
        (key.public, Purpose.RELEASE, b"plan"),
        (key.public, Purpose.PLAN, b"plan "),
        (SigningKey.generate().public, Purpose.PLAN, b"plan"),
    ):
        with pytest.raises(SignatureError, match="is not signed by the key"):
            other.verify(purpose, blob, signature)


@pytest.mark.parametrize("text", ["", "not base64", "QUJD", "é", "A" * 1000])
def test_what_is_no_signature_is_refused_as_one(key: SigningKey, text: str) -> None:
    with pytest.raises(SignatureError):
        key.public.verify(Purpose.PLAN, b"plan", text)


def test_a_signature_error_says_its_code_and_exit_status() -> None:
    assert issubclass(SignatureError, PolicyError)
    assert (SignatureError.code, SignatureError.exit_code) == ("bad-signature", 5)


def test_the_fingerprint_is_the_digest_of_the_keys_der(key: SigningKey) -> None:
    der = load_pem_public_key(key.public.pem.encode()).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = base64.b64encode(hashlib.sha256(der).digest()).decode()
    assert key.public.fingerprint == "SHA256:" + digest.rstrip("=")
    said = key.public.fingerprint
    assert key.public.has_fingerprint(said)
    assert key.public.has_fingerprint(f" {said[:20]} {said[20:]}\n")
    assert key.public.has_fingerprint(said.removeprefix("SHA256:"))
    assert not key.public.has_fingerprint(said.swapcase())
    assert not key.public.has_fingerprint("")


def test_a_public_key_reads_back_as_the_same_key(key: SigningKey) -> None:
    assert VerifyKey.from_pem(key.public.pem) == key.public
    assert VerifyKey.from_pem(key.public.pem.replace("\n", "\r\n")).pem == key.public.pem
    assert key.public.openssh.startswith("ssh-ed25519 ")


def test_only_the_kinds_of_key_that_we_use_are_read() -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(StudyError, match="Ed25519 or EC P-384"):
        VerifyKey.from_pem(pem)
    with pytest.raises(StudyError, match="never the private one"):
        VerifyKey.from_pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")


@settings(max_examples=200)
@given(st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda raw: pem_of(raw))))
def test_any_text_is_a_key_or_a_clear_error(text: str) -> None:
    with pytest.raises(GliofedError):
        VerifyKey.from_pem(text)


def pem_of(raw: bytes) -> str:
    return f"-----BEGIN PUBLIC KEY-----\n{base64.b64encode(raw).decode()}\n-----END PUBLIC KEY-----\n"


def test_a_private_key_is_its_owners_alone_and_never_overwritten(tmp_path: Path, key: SigningKey) -> None:
    path = tmp_path / "signing.key"
    key.save(path)
    assert path.stat().st_mode & 0o077 == 0
    assert SigningKey.load(path).public == key.public
    with pytest.raises(StudyError, match="never overwritten"):
        SigningKey.generate().save(path)
    assert isinstance(key.private, ed25519.Ed25519PrivateKey)


def test_a_signed_file_is_read_back_only_as_it_was_signed(tmp_path: Path, key: SigningKey) -> None:
    path = tmp_path / "roster.toml"
    write_signed(path, b"roster", key, Purpose.ROSTER)
    assert read_signed(path, key.public, Purpose.ROSTER, limit=6) == b"roster"
    with pytest.raises(StudyError, match="larger than 5 bytes"):
        read_signed(path, key.public, Purpose.ROSTER, limit=5)
    with pytest.raises(SignatureError):
        read_signed(path, key.public, Purpose.KIT, limit=6)
    path.write_bytes(b"Roster")
    with pytest.raises(SignatureError, match="changed since"):
        read_signed(path, key.public, Purpose.ROSTER, limit=6)
    path.with_name("roster.toml.sig").unlink()
    with pytest.raises(SignatureError, match="is not signed"):
        read_signed(path, key.public, Purpose.ROSTER, limit=6)


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_any_signature_file_is_refused_clearly(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "roster.toml"
    path.write_bytes(b"roster")
    path.with_name("roster.toml.sig").write_bytes(raw)
    with pytest.raises(GliofedError):
        read_signed(path, KNOWN.public, Purpose.ROSTER, limit=10)


KNOWN = SigningKey.generate()


def test_a_sites_key_is_the_kind_that_flower_and_the_masks_take(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "site.key"
    public = create_site_key(path)
    assert path.stat().st_mode & 0o077 == 0
    assert isinstance(load_ssh_private_key(path.read_bytes(), None), ec.EllipticCurvePrivateKey)
    assert path.with_suffix(".pub").read_text() == f"{public.openssh}\n"
    assert public.openssh.startswith("ecdsa-sha2-nistp384 ")
    assert SigningKey(load_signing_key(path)).public == public == load_site_key(path).public
    with pytest.raises(StudyError, match="never overwritten"):
        create_site_key(path)


def test_a_sites_key_of_another_kind_is_refused(tmp_path: Path, key: SigningKey) -> None:
    key.save(tmp_path / "site.key")
    with pytest.raises(StudyError, match="EC P-384"):
        load_site_key(tmp_path / "site.key")
