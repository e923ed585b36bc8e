"""The head of a compressed image: its own size, and whether its coding loses anything. Nothing is decompressed.

Sources: ITU-T T.81 annex B (JPEG), T.87 annex C (JPEG-LS), T.800 annex A (JPEG 2000), DICOM PS3.5 annex G (RLE).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from struct import error as StructError
from struct import unpack_from

HEAD_BYTES = 8192
"""More than the headers of an image take; what lies beyond is compressed samples."""

RLE = "1.2.840.10008.1.2.5"
JPEG = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
MAY_LOSE = JPEG_2000[1]
"""Its reversible coding may have been cut to a size, which its head does not tell; `….90` promises that it is whole."""

READABLE = (RLE, *JPEG, *JPEG_LS, *JPEG_2000)
"""Transfer syntaxes that the converter decodes without a difference."""

END = b"\xff\xd9"
"""Last bytes of a JPEG image of any kind: without them it was cut, and a decoder would make up the rest."""


@dataclass(frozen=True)
class Codestream:
    """What a compressed image says of itself.

    Attributes:
        bits: of one sample.
        lossless: whether its coding gives back every value, unless it was cut to a size (MAY_LOSE).
        known: whether the converter decodes this variant rightly.
    """

    rows: int
    columns: int
    bits: int
    lossless: bool
    known: bool = True


def read_codestream(syntax: str, head: bytes, tail: bytes, rows: int, columns: int) -> Codestream | None:
    """Return what a grey image of a transfer syntax says; None where it is damaged, cut, coloured or of another syntax.

    Args:
        syntax: one of READABLE.
        head: its first bytes, HEAD_BYTES of them; all of them for RLE.
        tail: its last bytes.
        rows, columns: what RLE, which does not say them, has to have.
    """
    try:
        if syntax == RLE:
            return _rle(head, rows, columns)
        if not tail.rstrip(b"\0").endswith(END):
            return None
        return _jpeg_2000(head) if syntax in JPEG_2000 else _jpeg(head, 0xC3 if syntax in JPEG else 0xF7)
    except (IndexError, ValueError, StructError):
        return None


def _rle(image: bytes, rows: int, columns: int) -> Codestream | None:
    """Return what a whole image says whose bytes, high ones first, are packed as segments of their own.

    Every segment is counted through: dcm2niix makes up what one lacks.
    """
    count, *starts = unpack_from("<16L", image)
    bounds = [*starts[:count], len(image)]
    if count not in (1, 2) or bounds[0] != 64 or any(one >= other for one, other in pairwise(bounds)):
        return None
    whole = all(_unpacks(image[one:other], rows * columns) for one, other in pairwise(bounds))
    return Codestream(rows, columns, 8 * count, lossless=True) if whole else None


def _unpacks(segment: bytes, length: int) -> bool:
    """Say whether a segment holds exactly `length` bytes; what pads it is not looked at."""
    place = 0
    while length > 0:
        size = segment[place]
        run = size + 1 if size < 128 else 257 - size if size > 128 else 0
        place += size + 2 if size < 128 else 2 if size > 128 else 1
        length -= run
    return length == 0 and place <= len(segment)


def _jpeg(head: bytes, frame_marker: int) -> Codestream | None:
    """Return the frame of lossless JPEG (marker C3) or JPEG-LS (F7), whose scan says how values are predicted."""
    size = None
    for marker, body in _segments(head):
        if marker == frame_marker:
            bits, rows, columns, components = body[0], *_words(body[1:5]), body[5]
            size = (rows, columns, bits) if components == 1 else None
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xCC):
            return None  # a frame of another process
        elif marker == 0xDA and size is not None and body[0] == 1:
            rows, columns, bits = size
            first, shift = body[3], body[5] & 15
            if frame_marker == 0xF7:  # `first` is the largest error of a value
                return Codestream(rows, columns, bits, lossless=first == 0 and shift == 0)
            # dcm2niix computes predictors 5 to 7 wrongly where values need all sixteen bits.
            return Codestream(rows, columns, bits, lossless=shift == 0, known=first <= 4 or bits < 16)
    return None


def _jpeg_2000(head: bytes) -> Codestream | None:
    size = None
    if head[:4] != b"\xff\x4f\xff\x51":
        return None
    for marker, body in _segments(head):
        if marker == 0x51:
            columns, rows, left, top = unpack_from(">4L", body.ljust(18, b"\0"), 2)
            components, depth = _words(body[34:36])[0], body[36]
            size = (rows - top, columns - left, (depth & 127) + 1) if components == 1 else None
        elif marker == 0x52 and size is not None:
            return Codestream(*size, lossless=body[9] == 1)
    return None


def _segments(head: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and body of every segment after the start mark that lies within `head`."""
    place = 2
    while place + 4 <= len(head) and head[place] == 0xFF:
        if head[place + 1] == 0xFF:  # fill byte
            place += 1
            continue
        length = _words(head[place + 2 : place + 4])[0]
        if length < 2:
            return
        yield head[place + 1], head[place + 4 : place + 2 + length]
        place += 2 + length


def _words(pair: bytes) -> tuple[int, ...]:
    """Return big-endian 16-bit numbers; raises ValueError where a byte is missing."""
    if len(pair) % 2 or not pair:
        raise ValueError("cut")
    return unpack_from(f">{len(pair) // 2}H", pair)
