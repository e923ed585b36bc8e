"""A trained game taught to address other domains: a hospital joins later, or brings another sequence."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from copy import deepcopy

import torch
from torch import nn

from common.nets.style import DomainHeads
from common.nets.ummgat import Ummgat
from common.sequences import Domain, with_twins


def add_domains(model: Ummgat, new: Iterable[Domain]) -> Ummgat:
    """Return a copy of `model` that also knows the `new` domains, image domains and twins; all old ones stay.

    Nothing that the model drew, encoded or judged before changes by a bit. Domain numbers are positions in the sorted
    list and do change: ask the new model for them.
    """
    return over_domains(model, with_twins((*model.domains, *new)))


def over_domains(model: Ummgat, domains: tuple[Domain, ...], trained: Collection[Domain] | None = None) -> Ummgat:
    """Return a copy of `model` over exactly `domains`, images first, then their twins.

    The heads of domains that the model knows, or of the `trained` ones among them where those are given, are its own.
    A new one begins as the mean of the heads of its sequence at other sites, a lesion twin's as that of such twins;
    where the model knows no such sequence, as the mean of all image domains' heads, or of all twins'.
    """
    wider = deepcopy(model)
    wider.domains = domains
    known = [domain for domain in model.domains if trained is None or domain in trained]
    for net in (wider.encoder, wider.mapper, wider.discriminator):
        net.out = _over_domains(net.out, known, domains)
    return wider


def _over_domains(heads: DomainHeads, old: list[Domain], wanted: tuple[Domain, ...]) -> DomainHeads:
    layers = {domain: layer for domain in old if isinstance(layer := heads.heads[domain.key], nn.Linear)}
    first = next(iter(layers.values()))
    wider = DomainHeads(wanted, first.in_features, first.out_features).to(first.weight)
    for domain in wanted:
        teachers = [layers[domain]] if domain in layers else [layers[each] for each in relatives(domain, old)]
        state = {name: torch.stack([getattr(layer, name) for layer in teachers]).mean(0) for name in ("weight", "bias")}
        wider.heads[domain.key].load_state_dict(state)
    return wider.train(heads.training)


def relatives(domain: Domain, known: Collection[Domain]) -> list[Domain]:
    """Return those of the `known` domains from which a new one learns: its sequence elsewhere, else all of its kind,
    else, where no lesion was ever seen, all there are."""
    kind = [each for each in known if each.lesion == domain.lesion]
    return [each for each in kind if each.sequence == domain.sequence] or kind or list(known)
