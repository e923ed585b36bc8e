"""Codings of float32 values: bf16, and int8 with one scale a block (as of Dettmers 2022, "8-bit Optimizers").

Both are written so that equal kinds of bytes stand together (a bf16's two bytes in two planes, all scales before all
codes), then deflated where that is shorter: exponents repeat, the last bits of a mantissa do not.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Coding = Literal["bf16", "int8"]

BLOCK = 256
"""Values that share a scale: 1.6 % more bytes, and one outlier coarsens no more than these."""
LARGEST_CODE = 127
DEFLATED = "+deflate"


class CodingError(ValueError):
    """Coded bytes do not hold as many values as were declared, or are in no form of their coding."""


@dataclass(frozen=True)
class Coded:
    """Values as they travel: the form names coding and compression."""

    form: str
    data: bytes


def size_of(coding: Coding, count: int) -> int:
    """Return the bytes of `count` coded values before they are deflated."""
    return 2 * count if coding == "bf16" else 4 * _blocks(count) + count


def encode(values: Tensor, coding: Coding) -> Coded:
    """Code float32 `values` of any shape; equal values give equal bytes.

    A value that is not finite makes its place (bf16) or its block (int8) not finite at the other end, never a number.
    """
    flat = values.detach().cpu().contiguous().reshape(-1)
    plain = _to_bf16(flat) if coding == "bf16" else _to_int8(flat)
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_RLE)
    packed = packer.compress(plain) + packer.flush()
    if len(packed) < len(plain):
        return Coded(f"gliofed.{coding}{DEFLATED}", packed)
    return Coded(f"gliofed.{coding}", plain)


def decode(coded: Coded, coding: Coding, shape: tuple[int, ...]) -> Tensor:
    """Return the float32 values of `coded` in `shape`; no more is ever unpacked than that shape holds.

    Raises:
        CodingError: where form or size are not as declared.
    """
    count = int(torch.Size(shape).numel())
    size = size_of(coding, count)
    if coded.form == f"gliofed.{coding}":
        plain = coded.data
    elif coded.form == f"gliofed.{coding}{DEFLATED}":
        plain = _inflate(coded.data, size)
    else:
        raise CodingError(f"came as {coded.form:.40}, expected gliofed.{coding}")
    if len(plain) != size:
        raise CodingError(f"came with {len(plain)} bytes, expected {size}")
    if not count:
        return torch.zeros(shape)
    return (_from_bf16(plain) if coding == "bf16" else _from_int8(plain, count)).reshape(shape)


def as_received(values: Tensor, coding: Coding) -> Tensor:
    """Return `values` as the other end reads them."""
    return decode(encode(values, coding), coding, tuple(values.shape))


def _inflate(data: bytes, size: int) -> bytes:
    """Inflate to `size` bytes at most, and refuse what is cut off, longer, or followed by more."""
    if len(data) >= size:
        raise CodingError(f"came deflated to {len(data)} bytes, which plainly take {size}")
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        plain = unpacker.decompress(data, size + 1)
    except zlib.error:
        raise CodingError("came in bytes that cannot be inflated") from None
    if not unpacker.eof or unpacker.unused_data:
        raise CodingError(f"does not inflate to {size} bytes")
    return plain


def _to_bf16(flat: Tensor) -> bytes:
    return flat.to(torch.bfloat16).view(torch.uint8).reshape(-1, 2).t().contiguous().numpy().tobytes()


def _from_bf16(plain: bytes) -> Tensor:
    planes = torch.frombuffer(bytearray(plain), dtype=torch.uint8).reshape(2, -1)
    return planes.t().reshape(-1).view(torch.bfloat16).float()


def _to_int8(flat: Tensor) -> bytes:
    if not flat.numel():
        return b""
    blocks = _in_blocks(flat)
    scale = blocks.abs().amax(1) / LARGEST_CODE
    codes = torch.where(scale[:, None] > 0, blocks / scale[:, None], 0.0).nan_to_num(0.0, 0.0, 0.0).round()
    whole = codes.clamp(-LARGEST_CODE, LARGEST_CODE).to(torch.int8).reshape(-1)[: flat.numel()]
    return scale.numpy().tobytes() + whole.numpy().tobytes()


def _from_int8(plain: bytes, count: int) -> Tensor:
    scale = torch.frombuffer(bytearray(plain[: 4 * _blocks(count)]), dtype=torch.float32)
    codes = torch.frombuffer(bytearray(plain[4 * _blocks(count) :]), dtype=torch.int8)
    return (_in_blocks(codes.float()) * scale[:, None]).reshape(-1)[:count]


def _in_blocks(flat: Tensor) -> Tensor:
    """Return (blocks, BLOCK), the last one filled up with zeros."""
    return torch.nn.functional.pad(flat, (0, _blocks(flat.numel()) * BLOCK - flat.numel())).reshape(-1, BLOCK)


def _blocks(count: int) -> int:
    return -(-count // BLOCK)
