"""Softmax attention in the form that each device computes fastest."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return `softmax(query · key / √d) · value`, each (B, heads, N, d).

    PyTorch's fused attention where it wins: on a GPU, and on a CPU without gradients (0.6 of the written-out form's
    time). Its backward pass on a CPU is slower in bf16, sixfold on small maps, so there training writes it out and
    keeps the (N, N) weights.
    """
    if query.device.type == "cpu" and torch.is_grad_enabled():
        return torch.softmax((query / query.shape[-1] ** 0.5) @ key.transpose(2, 3), dim=3) @ value
    return F.scaled_dot_product_attention(query, key, value)
