"""Where the pixels of an object's images lie in its file, and whether they can be what the header says."""

from __future__ import annotations

from dataclasses import dataclass
from struct import unpack
from typing import IO

from client.dicom.codestream import HEAD_BYTES, READABLE, RLE, read_codestream
from client.dicom.reason import Reason

PLAIN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
"""Implicit and explicit little endian, uncompressed."""

LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
"""JPEG baseline and extended."""

SYNTAXES = (*PLAIN, *READABLE)
PIXELS = b"\xe0\x7f\x10\x00"
ITEM, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
"""Tags of pixel data and of what parts compressed images, little endian."""

UNDEFINED = 0xFFFFFFFF
RLE_SLACK_BYTES = 1024
"""What an RLE image may be longer than its head and segments in which nothing repeats."""

MOST_FRAGMENTS = 100_000
"""Pieces of compressed images in one object."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a header says of the pixels.

    Attributes:
        syntax: transfer syntax, one of SYNTAXES.
        bits: that a pixel takes, 8 or 16.
        stored: bits of them that are used.
        signed: whether values may be negative.
    """

    syntax: str
    frames: int
    rows: int
    columns: int
    bits: int
    stored: int
    signed: bool

    @property
    def frame_bytes(self) -> int:
        """Bytes of one image that is not compressed."""
        return self.rows * self.columns * self.bits // 8


@dataclass(frozen=True, slots=True)
class Stored:
    """The pixels of one image.

    Attributes:
        layout: what all images of the object share.
        pieces: where they lie: first byte and number of bytes; a compressed image may have several.
        lossless: whether their own coding gives back every value, unless it was cut to a size (`codestream.MAY_LOSE`).
    """

    layout: Layout
    pieces: tuple[tuple[int, int], ...]
    lossless: bool = True


def locate(file: IO[bytes], size: int, layout: Layout) -> tuple[Stored, ...] | Reason:
    """Return the pixels of every image of an object, or what is wrong with them.

    Args:
        file: standing at its pixel data.
        size: bytes of the file.
        layout: what the header says.
    """
    head = file.read(12)
    if head[:4] != PIXELS:
        return Reason.BROKEN
    explicit = head[4:6] in (b"OW", b"OB")
    if layout.syntax in PLAIN:
        start = file.tell() - (0 if explicit else 4)
        if size - start < layout.frames * layout.frame_bytes:
            return Reason.BROKEN
        places = range(start, start + layout.frames * layout.frame_bytes, layout.frame_bytes)
        return tuple(Stored(layout, ((place, layout.frame_bytes),)) for place in places)
    if not explicit or unpack("<L", head[8:12])[0] != UNDEFINED:
        return Reason.BROKEN
    pieces = _pieces(file, size)
    if pieces is None:
        return Reason.BROKEN
    return _compressed(file, layout, pieces)


def _pieces(file: IO[bytes], size: int) -> list[tuple[int, int]] | None:
    """Return the items of compressed pixel data without the table before them; None where they do not end."""
    found: list[tuple[int, int]] = []
    while len(found) <= MOST_FRAGMENTS:
        head = file.read(8)
        if len(head) < 8 or head[:4] not in (ITEM, END):
            return None
        if head[:4] == END:
            return found[1:]
        length, place = unpack("<L", head[4:])[0], file.tell()
        if place + length > size:
            return None
        found.append((place, length))
        file.seek(place + length)
    return None


def _compressed(file: IO[bytes], layout: Layout, pieces: list[tuple[int, int]]) -> tuple[Stored, ...] | Reason:
    """Hold every image's own head against the object's header."""
    images = [tuple(pieces)] if layout.frames == 1 else [(piece,) for piece in pieces]
    if len(images) != layout.frames or not pieces:
        # Whole, but which fragments make up which frame is not worked out here.
        return Reason.COMPRESSED if len(images) > layout.frames else Reason.BROKEN
    found = []
    for image in images:
        if layout.syntax == RLE and sum(length for _, length in image) > _longest_rle(layout):
            return Reason.BAD_PIXELS  # it is counted through whole, which would take minutes
        blob = _read(file, image) if layout.syntax == RLE else _read(file, image[:1], HEAD_BYTES)
        stream = read_codestream(layout.syntax, blob, _tail(file, image[-1]), layout.rows, layout.columns)
        if stream is None or (stream.rows, stream.columns) != (layout.rows, layout.columns):
            return Reason.BAD_PIXELS
        if not (stream.bits == layout.bits if layout.syntax == RLE else layout.bits - 8 < stream.bits <= layout.bits):
            return Reason.BAD_PIXELS
        if not stream.known:
            return Reason.COMPRESSED
        found.append(Stored(layout, image, stream.lossless))
    return tuple(found)


def _longest_rle(layout: Layout) -> int:
    """Return the bytes of the longest image: a head, and segments that the worst coder makes twice as long."""
    return 64 + 2 * layout.frame_bytes + RLE_SLACK_BYTES


def _read(file: IO[bytes], pieces: tuple[tuple[int, int], ...], most: int | None = None) -> bytes:
    parts = []
    for place, length in pieces:
        file.seek(place)
        parts.append(file.read(length if most is None else min(length, most)))
    return b"".join(parts)


def _tail(file: IO[bytes], piece: tuple[int, int]) -> bytes:
    place, length = piece
    file.seek(place + max(0, length - 16))
    return file.read(min(length, 16))
