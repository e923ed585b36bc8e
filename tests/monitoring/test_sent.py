"""What left is counted from the audit log, line by line, while others write it."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.monitoring.sent import Sent
from client.privacy.audit import FILE, FOLDER, AuditLog
from common.errors import DataError


def line(kind="message", size_bytes=0, **more):
    return json.dumps({"kind": kind, "size_bytes": size_bytes, "number": 1, **more}).encode() + b"\n"


def counts(sent):
    size, messages = (sample.value for sample in sent.samples())
    return size, messages


@pytest.fixture
def log(tmp_path):
    path = tmp_path / FOLDER / FILE
    path.parent.mkdir()
    return path


def test_messages_alone_are_counted_and_a_torn_one_waits_for_its_end(log):
    sent = Sent(log.parents[1])
    assert counts(sent) == (0, 0)
    log.write_bytes(line(size_bytes=10) + line("approved") + line(size_bytes=5)[:-3])
    assert counts(sent) == (10, 1)
    log.write_bytes(line(size_bytes=10) + line("approved") + line(size_bytes=5) + line(size_bytes=1))
    assert counts(sent) == (16, 3)
    assert counts(sent) == (16, 3)


def test_what_the_audit_log_writes_is_what_is_counted(tmp_path):
    sent, audit = Sent(tmp_path), AuditLog(tmp_path)
    audit.append("message", size_bytes=7)
    assert counts(sent) == (7, 1)
    audit.append("approved", by="a person")
    audit.append("message", size_bytes=5)
    assert counts(sent) == (12, 2)


def test_another_log_is_counted_anew(log):
    sent = Sent(log.parents[1])
    log.write_bytes(line(size_bytes=10) * 3)
    assert counts(sent) == (30, 3)
    log.write_bytes(line(size_bytes=7))
    assert counts(sent) == (7, 1)


@given(
    blob=st.binary(max_size=200)
    | st.sampled_from([b"[" * 100_000, b'{"kind": 1}', b'{"kind": "message", "size_bytes": -1}'])
)
def test_any_bytes_are_a_log_or_refused_in_one_way(tmp_path_factory, blob):
    folder = tmp_path_factory.mktemp("site")
    path = folder / FOLDER / FILE
    path.parent.mkdir()
    path.write_bytes(blob + b"\n")
    with contextlib.suppress(DataError):
        counts(Sent(folder))
