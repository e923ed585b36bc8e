"""Codings of tensors: how exact they are, what they refuse to unpack, and that no rounding is lost over the rounds."""

from __future__ import annotations

import zlib

import pytest
import torch

from common.wire.coding import BLOCK, Coded, CodingError, as_received, decode, encode, size_of
from common.wire.difference import restore, send_change

SHAPES = [(), (1,), (3, 5), (BLOCK,), (BLOCK + 1,), (2, 3, 7, 11), (0, 4)]
CODINGS = ["bf16", "int8"]


def some(shape: tuple[int, ...], scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("shape", SHAPES)
def test_bf16_arrives_as_torch_rounds_it(shape: tuple[int, ...]) -> None:
    assert torch.equal(as_received(some(shape), "bf16"), some(shape).to(torch.bfloat16).float())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_int8_errs_by_half_a_step_of_its_block_at_most(shape: tuple[int, ...], scale: float) -> None:
    values = some(shape, scale)
    error = (as_received(values, "int8") - values).abs().flatten()
    for error_block, block in zip(error.split(BLOCK), values.flatten().split(BLOCK), strict=True):
        if block.numel():
            assert float(error_block.max()) <= float(block.abs().max()) / 127 * 0.501


@pytest.mark.parametrize("coding", CODINGS)
def test_what_arrived_once_arrives_unchanged_again(coding: str) -> None:
    once = as_received(some((40, 30)), coding)
    assert torch.allclose(as_received(once, coding), once, rtol=1e-6, atol=0)
    assert torch.equal(as_received(torch.zeros(300), coding), torch.zeros(300))


@pytest.mark.parametrize("coding", CODINGS)
def test_coded_values_never_take_more_than_their_plain_size(coding: str) -> None:
    noise = torch.randint(-(2**31), 2**31 - 1, (5000,), dtype=torch.int32).view(torch.float32)
    for values in (noise, some((5000,)), torch.zeros(5000), torch.zeros(1)):
        assert len(encode(values, coding).data) <= size_of(coding, values.numel())
    assert size_of("bf16", 1000) == 2000 and size_of("int8", 1000) == 1000 + 4 * 4


@pytest.mark.parametrize("coding", CODINGS)
def test_a_value_that_is_not_finite_is_never_read_as_a_number(coding: str) -> None:
    for broken in (float("nan"), float("inf"), -float("inf")):
        assert not as_received(torch.tensor([1.0, broken, 2.0]), coding).isfinite().all()


@pytest.mark.parametrize("coding", CODINGS)
def test_bytes_that_are_not_as_declared_are_refused(coding: str) -> None:
    good, deflate = encode(torch.zeros(1000), coding), zlib.compressobj(9, zlib.DEFLATED, -15)
    plain, bomb = bytes(size_of(coding, 1000)), deflate.compress(bytes(50_000_000)) + deflate.flush()
    assert good.form.endswith("+deflate") and len(bomb) > size_of(coding, 1000)
    for form, data in (
        (good.form, good.data[:-1]),
        (good.form, good.data + b"\0"),
        (good.form, b"\xff" * 20),
        (good.form, bomb),
        (good.form, plain),
        (f"gliofed.{coding}", plain[:-1]),
        (f"gliofed.{coding}", good.data),
        ("gliofed.raw", plain),
        ("gliofed.int4", plain),
    ):
        with pytest.raises(CodingError):
            decode(Coded(form, data), coding, (1000,))


def test_no_more_is_unpacked_than_was_declared() -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflate.compress(bytes(2_000_000)) + deflate.flush()
    assert len(bomb) < size_of("bf16", 1500)
    with pytest.raises(CodingError, match="does not inflate to 3000 bytes"):
        decode(Coded("gliofed.bf16+deflate", bomb), "bf16", (1500,))


@pytest.mark.parametrize("coding", CODINGS)
def test_what_arrives_over_the_rounds_is_what_was_learnt_but_for_the_last_rounding(coding: str) -> None:
    """A change a hundred times below the block's step would never arrive without feedback."""
    change = torch.full((BLOCK,), 1e-5)
    change[0] = 1.0
    arrived, residual = torch.zeros(BLOCK), None
    for _ in range(2000):
        sent = send_change(change, torch.zeros(BLOCK), residual, coding)
        arrived, residual = arrived + decode(sent.coded, coding, (BLOCK,)), sent.residual
    assert torch.allclose(arrived[1:] + residual[1:], torch.full((BLOCK - 1,), 2000e-5), rtol=1e-3)
    assert float(residual.abs().max()) <= 1 / 127
    if coding == "int8":
        assert not as_received(change, coding)[1:].any()


@pytest.mark.parametrize("coding", CODINGS)
def test_a_broken_update_leaves_no_residual(coding: str) -> None:
    sent = send_change(torch.tensor([float("nan"), 1.0]), torch.zeros(2), None, coding)
    assert sent.residual.isfinite().all()


def test_a_change_below_the_resolution_of_the_downlink_still_counts() -> None:
    master, small = torch.tensor([1.0]), 1e-4
    for _ in range(10):
        received = as_received(master, "bf16")
        sent = send_change(received + small, received, None, "bf16")
        master = restore(decode(sent.coded, "bf16", (1,)), master)
    assert abs(float(master) - 1.001) < 1e-5
    assert float(as_received(torch.tensor([1.0 + small]), "bf16")) == 1.0
