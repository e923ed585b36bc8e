"""A request says who asks with which key, and is signed with it."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import GliofedError, StudyError
from common.identity.request import MAX_REQUEST, read_request, write_request
from common.identity.signing import SignatureError, SigningKey
from common.identity.site_key import create_site_key, load_site_key


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    path = tmp_path_factory.mktemp("keys") / "site.key"
    create_site_key(path)
    return load_site_key(path)


@pytest.fixture(scope="module")
def blob(key: SigningKey) -> bytes:
    return write_request("hospital-a", key, "0.1.0+0123456789ab")


def test_a_request_is_read_back(blob: bytes, key: SigningKey) -> None:
    request = read_request(blob)
    assert (request.name, request.code_version, request.key) == ("hospital-a", "0.1.0+0123456789ab", key.public)
    assert b"PRIVATE" not in blob
    assert len(blob) < 1024


def test_a_changed_request_is_refused(blob: bytes) -> None:
    with pytest.raises(SignatureError):
        read_request(blob.replace(b"hospital-a", b"hospital-b"))


def test_nobody_asks_with_another_sites_key(blob: bytes, key: SigningKey) -> None:
    thief = SigningKey.generate()
    tree = json.loads(blob)
    tree["signature"] = json.loads(write_request("hospital-a", key, "0.1.0"))["signature"]
    with pytest.raises(SignatureError):
        read_request(json.dumps(tree).encode())
    with pytest.raises(ValueError, match="EC P-384"):
        write_request("hospital-a", thief, "0.1.0")


def test_all_problems_are_named_at_once(blob: bytes) -> None:
    tree = json.loads(blob)
    tree["request"] |= {"name": "../etc", "code_version": "a b", "more": 1, "public_key": "none"}
    with pytest.raises(StudyError) as caught:
        read_request(json.dumps(tree).encode(), "request.json")
    said = str(caught.value).splitlines()
    keys = ("name", "public_key", "code_version", "more")
    assert [line.split(": ")[1] for line in said] == [f"request.{key}" for key in keys]


def test_a_large_request_is_not_even_parsed() -> None:
    with pytest.raises(StudyError, match="larger than"):
        read_request(b" " * (MAX_REQUEST + 1))


@given(st.binary(max_size=200) | st.sampled_from([b"[" * 8000, b'{"request":' * 500, b'"\\ud800"', b"\xff", b"1e999"]))
def test_any_bytes_are_a_request_or_a_clear_error(raw: bytes) -> None:
    with pytest.raises(GliofedError):
        read_request(raw)


@given(st.data())
def test_a_request_with_any_byte_changed_is_refused_or_says_the_same(blob: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(blob) - 1))
    changed = blob[:place] + bytes([data.draw(st.integers(0, 255))]) + blob[place + 1 :]
    with contextlib.suppress(GliofedError):
        assert read_request(changed) == read_request(blob)
