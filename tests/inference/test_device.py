"""Where inference runs, and that its precision follows the hardware."""

from __future__ import annotations

import torch

from client import precision
from client.inference.device import choose_device, device_of

CPU = torch.device("cpu")


def test_a_model_runs_where_its_parameters_are():
    assert device_of(torch.nn.Linear(1, 1)) == CPU
    assert device_of(torch.nn.Linear(1, 1, device="meta")).type == "meta"
    assert device_of(abs) == CPU


def test_without_a_gpu_the_cpu_is_chosen(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == CPU


def test_half_precision_is_used_only_where_the_cpu_computes_in_it(monkeypatch):
    for has in (True, False):
        monkeypatch.setattr(precision, "_cpu_has_bf16", lambda has=has: has)
        with precision.half_precision(CPU):
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert product.dtype == (torch.bfloat16 if has else torch.float32)
