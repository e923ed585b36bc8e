"""Which tensors of a network are its normalisation layers' own: what a site keeps to itself under FedBN (Li 2021)."""

from __future__ import annotations

from torch import nn

from common.nets.instance_norm import InstanceNorm

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, InstanceNorm)


def norm_tensors(model: nn.Module) -> frozenset[str]:
    """Return the names of scale, shift and running statistics of every normalisation layer of `model`.

    AdaIN and the synthesiser's modulation have none of their own: their scale and shift are said by a linear layer from
    a style or label code, which all sites share.
    """
    return frozenset(
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        if isinstance(module, NORMS)
        for name in module.state_dict()
    )
