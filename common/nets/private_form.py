"""The form in which a network can be trained with one gradient a patient."""

from __future__ import annotations

import math

from torch import nn

GROUPS = 32


def private_form(net: nn.Module) -> nn.Module:
    """Change `net` in place so that a row's gradient is that row's alone and can be told apart; return it.

    Batch norm, which mixes the patients of a batch, becomes group norm with the same scale and shift. Activations no
    longer overwrite their input, which hooks on gradients forbid. Weights keep their names; running statistics go.
    """
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                setattr(parent, name, _group_norm(child))
            elif getattr(child, "inplace", False):
                child.inplace = False  # type: ignore[assignment]
    return net


def _group_norm(norm: nn.modules.batchnorm._BatchNorm) -> nn.GroupNorm:
    plain = nn.GroupNorm(math.gcd(GROUPS, norm.num_features), norm.num_features, eps=norm.eps, affine=norm.affine)
    if norm.affine:
        plain.weight, plain.bias = norm.weight, norm.bias
    return plain
