"""What the machine can do at best: the rates of convolutions and matrix products against which a network is held."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

CONVOLUTIONS = ((64, 212), (128, 106), (256, 53))
"""Channels and side of maps as the paper-size networks have them."""
MATRIX = {"cpu": 2048, "cuda": 8192}
TRIES = 3


@dataclass(frozen=True)
class Rates:
    """Best rates, in floating-point operations a second."""

    convolution: float
    matrix: float


@torch.inference_mode()
def measure_rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """Return the best of several tries: 3 x 3 channels-last convolutions of two maps, square matrix products."""
    convolutions = [_convolution(channels, side, device, dtype) for channels, side in CONVOLUTIONS]
    side = MATRIX[device.type]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(left)
    matrix = _best(lambda: torch.mm(left, right, out=product), device)
    return Rates(max(convolutions), 2 * side**3 / matrix)


def _convolution(channels: int, side: int, device: torch.device, dtype: torch.dtype) -> float:
    layout = torch.channels_last
    maps = torch.randn(2, channels, side, side, device=device).to(dtype, memory_format=layout)
    weight = torch.randn(channels, channels, 3, 3, device=device).to(dtype, memory_format=layout)
    seconds = _best(lambda: F.conv2d(maps, weight, padding=1), device)
    return 2 * 2 * (channels * side * 3) ** 2 / seconds


def _best(work: Callable[[], object], device: torch.device) -> float:
    """Return the least seconds that the work took, after one try that does not count."""
    work()
    return min(clock(work, device)[0] for _ in range(TRIES))


def clock(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Do the work; return seconds on the clock and processor seconds of all threads."""
    finish = torch.cuda.synchronize if device.type == "cuda" else _nothing
    finish()
    wall, processor = time.perf_counter(), time.process_time()
    work()
    finish()
    return time.perf_counter() - wall, time.process_time() - processor


def _nothing() -> None:
    """A CPU has nothing to wait for."""
