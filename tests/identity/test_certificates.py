"""The consortium's own authority: what it issues is trusted under the names asked for, until its end."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from common.errors import StudyError
from common.identity.certificates import Authority, days_left, host_of, load_certificates


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority.create("GlioFed test")
    made.save(tmp_path / "ca.crt", tmp_path / "ca.key")
    return made


def test_the_authority_lasts_ten_years_and_a_servers_certificate_thirteen_months(
    tmp_path: Path, authority: Authority
) -> None:
    authority.issue(("gliofed.example.org", "192.0.2.7"), tmp_path / "server.crt", tmp_path / "server.key")
    assert days_left(tmp_path / "ca.crt") == pytest.approx(3653, abs=0.01)
    assert days_left(tmp_path / "server.crt") == pytest.approx(397, abs=0.01)
    assert {(tmp_path / f"{name}.key").stat().st_mode & 0o077 for name in ("ca", "server")} == {0}


def test_names_and_addresses_stand_in_the_certificate(tmp_path: Path, authority: Authority) -> None:
    authority.issue(("gliofed.example.org", "192.0.2.7", "2001:db8::7"), tmp_path / "crt", tmp_path / "key")
    names = load_certificates(tmp_path / "crt")[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["gliofed.example.org"]
    assert list(map(str, names.value.get_values_for_type(x509.IPAddress))) == ["192.0.2.7", "2001:db8::7"]


def test_a_certificate_never_outlives_its_authority(tmp_path: Path) -> None:
    Authority.create("short", timedelta(hours=12)).issue(("a.example",), tmp_path / "crt", tmp_path / "key")
    assert days_left(tmp_path / "crt") == pytest.approx(0.5, abs=0.01)


def test_days_left_fall_below_zero_and_a_bundle_counts_its_first_end(tmp_path: Path, authority: Authority) -> None:
    authority.issue(("a.example",), tmp_path / "crt", tmp_path / "key", timedelta(days=-2))
    assert days_left(tmp_path / "crt") == pytest.approx(-2, abs=0.01)
    both = (tmp_path / "ca.crt").read_bytes() + (tmp_path / "crt").read_bytes()
    (tmp_path / "both.crt").write_bytes(both)
    assert days_left(tmp_path / "both.crt") == pytest.approx(-2, abs=0.01)


def test_an_authority_is_read_back_with_its_own_key_alone(tmp_path: Path, authority: Authority) -> None:
    assert Authority.load(tmp_path / "ca.crt", tmp_path / "ca.key").certificate == authority.certificate
    Authority.create("other").save(tmp_path / "other.crt", tmp_path / "other.key")
    with pytest.raises(StudyError, match="is not the key of"):
        Authority.load(tmp_path / "ca.crt", tmp_path / "other.key")
    with pytest.raises(StudyError, match="no readable private key"):
        Authority.load(tmp_path / "ca.crt", tmp_path / "ca.crt")


def test_a_file_without_a_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("nothing")
    with pytest.raises(StudyError, match=r"ca\.crt: holds no PEM certificate"):
        days_left(tmp_path / "ca.crt")


@pytest.mark.parametrize("text", ["https://a.example", "a.example:443", "*.example.org", "A.example", "", "-a", "a..b"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(StudyError, match="is no host"):
        host_of(text)


@given(st.text(max_size=300))
def test_any_text_is_a_host_or_a_clear_error(text: str) -> None:
    try:
        host_of(text)
    except StudyError:
        return
    assert not set(text) & set(" /\\\n\0*")
