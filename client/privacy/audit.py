"""The audit log: an entry for every message that leaves a site, on the disk before the message may leave.

`<workdir>/audit/audit.jsonl` is only ever added to; every line holds the digest of the line before it. `head.json`
holds length and digest of the whole, so that missing lines are found. What was torn by a power cut never left; it is
cut off at the next entry, and an entry says so. Whoever may write the folder could write another history: a digest that
was noted elsewhere finds that too.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from client.privacy.audit_entry import FIRST, MAX_LINE_BYTES, AuditError, Entry, digest_of, read_entry
from common.errors import GliofedError
from common.files import PRIVATE, make_folder, write_whole
from common.records import Digest
from common.settings.frozen import Frozen

FOLDER, FILE, HEAD, LOCK = "audit", "audit.jsonl", "head.json", "lock"


class Head(Frozen):
    """How many lines and bytes there must be at least, and the digest of the last of those lines."""

    count: Annotated[int, Field(ge=0)] = 0
    size_bytes: Annotated[int, Field(ge=0)] = 0
    digest: Digest = FIRST


@dataclass(frozen=True)
class Tail:
    """What lies in the log behind its head: whole lines, whose head was not written any more, and a torn one."""

    head: Head
    torn: bytes


class AuditLog:
    """The folder `<workdir>/audit`."""

    def __init__(self, workdir: Path) -> None:
        self.folder = workdir / FOLDER
        self.path = self.folder / FILE

    def append(self, kind: str, allow: Callable[[], None] | None = None, **facts: Any) -> Entry:
        """Add an entry; it is on the disk on return.

        Args:
            allow: raises where the entry must not be; it is asked while nobody else can add one, so that no entry that
                it forbids can follow the entry of what made it forbid.
        Raises:
            AuditError: where the log cannot be written, or lines of it are lost.
            Exception: what `allow` raises, unchanged.
        """
        with ExitStack() as held:
            with self._telling():
                make_folder(self.folder)
                held.enter_context(self._locked())
            if allow is not None:
                allow()
            with self._telling():
                if not self.path.exists() and self._head() == Head():
                    self._keep(Head())
                tail = self._tail(self._head())
                if tail.torn:
                    note = f"a torn line of {len(tail.torn)} bytes was cut off, what it was of never left"
                    tail = Tail(self._write(tail.head, "healed", {"note": note})[1], b"")
                return self._write(tail.head, kind, facts)[0]

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Turn what goes wrong with the log into an AuditError."""
        try:
            yield
        except OSError as error:
            raise self._broken(f"cannot be written ({error.strerror})") from None
        except GliofedError as error:
            raise error if isinstance(error, AuditError) else self._broken(str(error)) from None

    def entries(self) -> Iterator[Entry]:
        """Yield all entries, the oldest first, each verified; see `verify`."""
        for entry, _ in self._verified():
            yield entry

    def verify(self, noted: str | None = None) -> Head:
        """Return how long the log is, and its last digest, once every line is found to be in its place.

        Args:
            noted: a digest that was noted before, which must still be in the log.
        Raises:
            AuditError: naming the first line that was changed, moved or lost, and what that means.
        """
        head, found = Head(), noted in (None, FIRST)
        for _, head in self._verified():
            found = found or head.digest == noted
        if not found:
            raise self._broken("does not hold the digest that was noted: it was replaced, or cut before that line")
        return head

    def _verified(self) -> Iterator[tuple[Entry, Head]]:
        """Yield every entry with the head that it makes. Raises AuditError."""
        if not self.folder.exists():
            return
        with self._locked():
            known, head = self._head(), Head()
            try:
                with self.path.open("rb") as file:
                    while line := file.readline(MAX_LINE_BYTES):
                        if not line.endswith(b"\n"):
                            break  # torn: it never left, and the next entry cuts it off
                        entry, head = self._follow(line, head)
                        if head.count == known.count and head != known:
                            raise self._broken(f"line {head.count} is not the one that was written there")
                        yield entry, head
            except FileNotFoundError:
                pass
            except OSError as error:
                raise self._broken(f"cannot be read ({error.strerror})") from None
            if head.count < known.count:
                raise self._broken(f"ends after line {head.count} of {known.count}: the last lines are lost")

    def _follow(self, line: bytes, head: Head) -> tuple[Entry, Head]:
        """Return the entry of the line behind `head`, and the head that it makes."""
        number = head.count + 1
        try:
            entry = read_entry(line)
        except AuditError as error:
            raise self._broken(f"line {number} {error}: it was changed") from None
        if (entry.number, entry.before) != (number, head.digest):
            raise self._broken(f"line {number} does not follow line {head.count}: one was changed, moved or removed")
        return entry, Head(count=number, size_bytes=head.size_bytes + len(line), digest=digest_of(line))

    def _write(self, head: Head, kind: str, facts: dict[str, Any]) -> tuple[Entry, Head]:
        """Write a line behind `head`, whatever lies there, then the new head."""
        fields = {"number": head.count + 1, "before": head.digest, "at": datetime.now(UTC), "kind": kind, **facts}
        try:
            entry = Entry.model_validate(fields)
        except ValidationError as error:
            raise self._broken(f"could not hold an entry ({error.errors()[0]['loc']})") from None
        line = entry.to_line()
        self.path.touch(PRIVATE)
        with self.path.open("r+b") as file:
            file.truncate(head.size_bytes)
            file.seek(head.size_bytes)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        after = Head(count=head.count + 1, size_bytes=head.size_bytes + len(line), digest=digest_of(line))
        self._keep(after)
        return entry, after

    def _keep(self, head: Head) -> None:
        """Write the head; it is there before the first line, so that a log without one has lost it."""
        write_whole(self.folder / HEAD, head.model_dump_json().encode(), PRIVATE)

    def _tail(self, head: Head) -> Tail:
        """Return the head with the whole lines behind it, which a kill kept from being counted, and what is torn."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < head.size_bytes:
            raise self._broken(f"has {size} bytes, fewer than the {head.size_bytes} that were written: lines are lost")
        if size == head.size_bytes:
            return Tail(head, b"")
        with self.path.open("rb") as file:
            file.seek(head.size_bytes)
            lines = file.read().split(b"\n")
        for line in lines[:-1]:
            _, head = self._follow(line + b"\n", head)
        return Tail(head, lines[-1])

    def _head(self) -> Head:
        path = self.folder / HEAD
        try:
            return Head.model_validate_json(path.read_bytes(), strict=True)
        except FileNotFoundError:
            if self.path.exists():
                raise self._broken(f"has lost its {HEAD}, without which missing lines are not found") from None
            return Head()
        except (OSError, ValidationError):
            raise self._broken(f"has a damaged {HEAD}") from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes of the site out: two messages may be answered at a time."""
        with (self.folder / LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _broken(self, how: str) -> AuditError:
        return AuditError(
            f"{self.path}: {how}. Restore the folder from a backup; or move it away and keep it, and a new log begins. "
            "Until then nothing leaves this site"
        )
