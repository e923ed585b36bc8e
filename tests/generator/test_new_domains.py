"""A hospital that joins later gets heads of its own, and nobody else's picture changes by a bit."""

from __future__ import annotations

import pytest
import torch

from common.nets.first_weights import initialise
from common.nets.new_domains import add_domains, over_domains, relatives
from common.nets.ummgat import Ummgat
from common.sequences import Domain, Sequence, with_twins

T1, T2, FLAIR, CBV = Sequence.T1, Sequence.T2, Sequence.FLAIR, Sequence.CBV
NEW = (Domain("a", FLAIR), Domain("aa", T1), Domain("aa", CBV))
"""They sort between the old ones, so that every number moves."""


@pytest.fixture(scope="module")
def trained() -> Ummgat:
    """A game whose every tensor is away from its first value, zero output layers included."""
    model = Ummgat(with_twins(tuple(Domain(site, s) for site in ("a", "b") for s in (T1, T2))), "tiny")
    initialise(model, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def pictures(seed: int) -> torch.Tensor:
    return torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@torch.no_grad()
def outputs(model: Ummgat, domain: Domain) -> list[torch.Tensor]:
    """All that the model says of a domain: both ways to draw it, its codes, its lesions' codes, its judgement."""
    image, reference = pictures(3), pictures(4)
    number, twin = (torch.full((3,), model.number(each)) for each in (domain, domain.twin))
    return [
        model.translate(image, domain),
        model.translate(image, domain, reference),
        model.encoder(reference, number),
        model.encoder(reference, twin),
        model.mapper(torch.ones(3, model.mapper.latent_size), number),
        model.discriminator(image, number),
    ]


def test_a_head_added_leaves_the_other_domains_outputs_bit_identical(trained):
    wider = add_domains(trained, NEW)
    assert wider.number(Domain("b", T1)) != trained.number(Domain("b", T1))
    for domain in (each for each in trained.domains if not each.lesion):
        before, after = outputs(trained, domain), outputs(wider, domain)
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True)), domain.key


def test_the_model_that_was_given_stays_as_it_was(trained):
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    wider = add_domains(trained, NEW)
    with torch.no_grad():
        for parameter in wider.parameters():
            parameter.zero_()
    assert len(trained.domains) == 8
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained.state_dict().items())


def test_a_new_head_begins_as_the_mean_of_its_sequence_at_other_sites(trained):
    heads = add_domains(trained, NEW).encoder.out.heads
    mean = (heads["a:T1"].weight + heads["b:T1"].weight) / 2
    torch.testing.assert_close(heads["aa:T1"].weight, mean)
    lesions = (heads["a:T1:lesion"].bias + heads["b:T1:lesion"].bias) / 2
    torch.testing.assert_close(heads["aa:T1:lesion"].bias, lesions)


def test_a_sequence_that_nobody_had_begins_as_the_mean_of_all_of_its_kind(trained):
    images = tuple(domain for domain in trained.domains if not domain.lesion)
    assert relatives(Domain("aa", CBV), trained.domains) == list(images)
    assert all(domain.lesion for domain in relatives(Domain("aa", CBV, lesion=True), trained.domains))
    heads = add_domains(trained, NEW).mapper.out.heads
    mean = torch.stack([heads[domain.key].weight for domain in images]).mean(0)
    torch.testing.assert_close(heads["aa:CBV"].weight, mean)


def test_a_new_head_draws_and_learns(trained):
    wider = add_domains(trained, NEW)
    drawn = wider.translate(pictures(3), Domain("aa", CBV))
    drawn.square().mean().backward()
    assert drawn.isfinite().all()
    assert wider.mapper.out.heads["aa:CBV"].bias.grad is not None


def test_the_tensors_are_those_of_a_game_built_over_the_same_domains(trained):
    wider = add_domains(trained, NEW)
    fresh = Ummgat(wider.domains, "tiny")
    fresh.load_state_dict(wider.state_dict())
    assert [name for name, _ in fresh.named_parameters()] == [name for name, _ in wider.named_parameters()]


def test_domains_can_be_left_out(trained):
    fewer = over_domains(trained, with_twins((Domain("a", T2),)))
    assert [domain.key for domain in fewer.domains] == ["a:T2", "a:T2:lesion"]
    before, after = outputs(trained, Domain("a", T2)), outputs(fewer, Domain("a", T2))
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
