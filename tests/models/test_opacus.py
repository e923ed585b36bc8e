"""Which networks Opacus can train, and in which form: the table of the documentation against what is found."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from client.privacy.dp_sgd import noisy_step
from client.privacy.dp_sgd import one_by_one as patient_by_patient
from common.nets.conditional_unet import ConditionalUNet
from common.nets.identifier import Identifier
from common.nets.map_synthesiser import MapCritic, MapSynthesiser
from common.nets.private_form import private_form
from common.nets.segmenter import Segmenter
from common.nets.ummgat import Ummgat
from common.sequences import Domain, Sequence

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing", "ignore:In CPU autocast")

ROWS, SIDE = 3, 32
DOMAINS = tuple(Domain("a", sequence, lesion) for lesion in (False, True) for sequence in (Sequence.T1, Sequence.T2))
TABLE = Path(__file__).parents[2] / "docs" / "reference" / "private-training.md"
FORMS = ("hooks", "functorch", "ghost", "one by one")


def ummgat(part: str) -> nn.Module:
    return Ummgat(DOMAINS, "tiny").get_submodule(part)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "synthesiser": lambda: ConditionalUNet("tiny"),
    "segmenter": lambda: Segmenter("tiny"),
    "identifier, `tiny`": lambda: Identifier("tiny"),
    "identifier, `paper`": lambda: Identifier("paper"),
    "maps drawer": lambda: MapSynthesiser("tiny", inputs=5),
    "maps critic": lambda: MapCritic(1),
    **{
        f"UMMGAT {part}": lambda part=part: ummgat(part) for part in ("generator", "encoder", "mapper", "discriminator")
    },
}


def inputs_of(name: str) -> tuple[Tensor, ...]:
    """Return a batch of inputs, one row a patient."""
    domain = torch.tensor([0, 1, 1])
    return {
        "synthesiser": (picture(1), torch.tensor([5, 50, 90]), picture(2), torch.tensor([0, 1, 1])),
        "segmenter": (picture(4),),
        "identifier, `tiny`": (picture(3),),
        "identifier, `paper`": (picture(3),),
        "maps drawer": (picture(5), torch.arange(5 * ROWS).view(ROWS, 5) % 3 > 0),
        "maps critic": (picture(1),),
        "UMMGAT generator": (picture(1), torch.randn(ROWS, 32)),
        "UMMGAT encoder": (picture(1), domain),
        "UMMGAT mapper": (torch.randn(ROWS, 16), domain),
        "UMMGAT discriminator": (picture(1), domain),
    }[name]


def picture(channels: int) -> Tensor:
    return torch.randn(ROWS, channels, SIDE, SIDE)


def losses(out: object) -> Tensor:
    """Return a loss for each row of whatever a network returns."""
    tensors = [out] if isinstance(out, Tensor) else [value for value in vars(out).values() if isinstance(value, Tensor)]
    return sum(tensor.flatten(1).square().mean(1) if tensor.dim() > 1 else tensor.square() for tensor in tensors)


def opened(name: str) -> nn.Module:
    """Return a network in its private form, every weight off zero, nothing left to chance."""
    torch.manual_seed(0)
    net = private_form(NETWORKS[name]()).train()
    for part in net.modules():
        if hasattr(part, "drop_connect_rate"):
            part.drop_connect_rate = None
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    with torch.no_grad():
        for weight in net.parameters():
            weight += 0.02 * torch.randn(weight.shape)
    return net


def one_by_one(net: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Return each weight's gradient for every row alone, (B, …)."""
    rows = []
    for row in range(ROWS):
        loss = losses(net(*(each[row : row + 1] for each in inputs))).sum()
        found = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
        rows.append([torch.zeros_like(w) if g is None else g for w, g in zip(net.parameters(), found, strict=True)])
    return [torch.stack(each) for each in zip(*rows, strict=True)]


def per_row(net: nn.Module, inputs: tuple[Tensor, ...], form: str) -> Tensor:
    """Return what a form finds, flat: every row's gradient, or under `ghost` every row's norm; Opacus may raise."""
    from opacus.grad_sample import GradSampleModule
    from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping

    if form == "ghost":
        wrapped = GradSampleModuleFastGradientClipping(net, loss_reduction="sum", max_grad_norm=1.0)
        losses(wrapped(*inputs)).sum().backward()
        return wrapped.get_norm_sample()
    wrapped = GradSampleModule(net, loss_reduction="sum", force_functorch=form == "functorch")
    losses(wrapped(*inputs)).sum().backward()
    return torch.cat([weight.grad_sample.flatten() for weight in net.parameters() if weight.grad is not None])


def works(net: nn.Module, inputs: tuple[Tensor, ...], truth: list[Tensor], form: str) -> bool:
    """Whether a form finds `truth`, the gradients that the rows have alone."""
    if form == "one by one":  # it is the truth where rows do not mix: then a batch's gradient is their sum
        found = torch.autograd.grad(losses(net(*inputs)).sum(), list(net.parameters()), allow_unused=True)
        together = torch.cat([gradient.flatten() for gradient in found if gradient is not None])
        alone = [each.sum(0).flatten() for each, gradient in zip(truth, found, strict=True) if gradient is not None]
        return near(together, torch.cat(alone))
    try:
        seen = per_row(copy.deepcopy(net), inputs, form)
    except (RuntimeError, NotImplementedError, AttributeError):
        return False
    if form == "ghost":
        return near(seen, torch.cat([gradient.flatten(1) for gradient in truth], dim=1).norm(dim=1))
    reached = torch.cat([gradient.flatten() for gradient in truth if bool(gradient.any())])
    return seen.shape == reached.shape and near(seen, reached)


def near(found: Tensor, wanted: Tensor) -> bool:
    return float((found - wanted).norm() / wanted.norm()) < 1e-3


def documented() -> dict[str, dict[str, bool]]:
    found = {}
    for line in TABLE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 2 + len(FORMS) and cells[0] in NETWORKS:
            assert set(cells[1:-1]) <= {"yes", "no"}
            assert (cells[-1] != "") == ("no" in cells), f"{cells[0]}: say why not, and only then"
            found[cells[0]] = dict(zip(FORMS, (cell == "yes" for cell in cells[1:-1]), strict=True))
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_the_table_says_in_which_forms_a_network_can_be_trained(name: str) -> None:
    net, inputs = opened(name), inputs_of(name)
    truth = one_by_one(net, inputs)
    found = {form: works(net, inputs, truth, form) for form in FORMS}
    row = " | ".join("yes" if found[form] else "no" for form in FORMS)
    assert documented()[name] == found, f"found: | {name} | {row} |"


@pytest.mark.parametrize("name", NETWORKS)
def test_the_validator_refuses_nothing_that_is_in_its_private_form(name: str) -> None:
    from opacus.validators import ModuleValidator

    assert ModuleValidator.validate(opened(name), strict=False) == []


def test_the_private_form_keeps_weights_and_their_names_and_drops_running_statistics() -> None:
    net = Identifier("paper")
    before = {name: weight.clone() for name, weight in net.named_parameters()}
    after = dict(private_form(net).named_parameters())
    assert list(after) == list(before) and all(torch.equal(after[name], before[name]) for name in before)
    assert not re.search("running_", " ".join(net.state_dict()))


def test_opacus_and_our_own_step_move_a_network_alike_where_there_is_no_noise() -> None:
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    name, clip = "identifier, `tiny`", 0.01
    ours, theirs, (pictures,) = opened(name), opened(name), inputs_of(name)
    optimiser = torch.optim.SGD(ours.parameters(), lr=1.0)
    gradients = patient_by_patient([row[None] for row in pictures], lambda row: losses(ours(row)).sum(), optimiser)
    noisy_step(gradients, optimiser, clip, 0.0, expected=1)
    wrapped = GradSampleModule(theirs, loss_reduction="sum")
    plain = torch.optim.SGD(theirs.parameters(), lr=1.0)
    private = DPOptimizer(plain, noise_multiplier=0.0, max_grad_norm=clip, expected_batch_size=1, loss_reduction="sum")
    losses(wrapped(pictures)).sum().backward()
    private.step()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_opacus_misreads_maps_that_lie_channels_last() -> None:
    """The documentation warns of it; where this fails, Opacus has learnt to read them, and the warning can go."""
    from opacus.grad_sample import GradSampleModule

    torch.manual_seed(0)
    maps, found = torch.randn(2, 3, 8, 8), []
    for layout in (torch.contiguous_format, torch.channels_last):
        convolution = nn.Conv2d(3, 4, 3)
        nn.init.constant_(convolution.weight, 0.1)
        losses(
            GradSampleModule(convolution, loss_reduction="sum")(maps.contiguous(memory_format=layout))
        ).sum().backward()
        found.append(convolution.weight.grad_sample)
    assert not near(found[1], found[0])
