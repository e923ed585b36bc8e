"""One hospital of complete phantoms, forty to learn from and forty that nobody has seen."""

from types import SimpleNamespace

import pytest
from safetensors.torch import save_file

from common.nets.stage_models import build_model
from common.seeding import torch_generator
from common.sequences import STRUCTURAL
from common.settings.stages import Stage
from common.study import parse_study
from simulations.ablations.phantoms import open_phantoms, scenario_of
from simulations.ablations.training import Trained
from simulations.scenario import Losses

HELD_OUT = 40
STUDY = """
name = "learning"
sites = ["hospital-a"]
reference_site = "hospital-a"
[data]
holdout_fraction = 0.5
[stages.generator]
[stages.synthesiser]
rounds = 1
local_steps = 700
batch_size = 8
learning_rate = 1.5e-3
learning_rate_decay = "cosine"
ema_decay = 0.98
{more}
"""


def study_of(more: str = ""):
    return parse_study(STUDY.format(more=more))


@pytest.fixture(scope="session")
def hospital(tmp_path_factory) -> SimpleNamespace:
    """`.phantoms` with half of its patients held out and `.generator`, untrained: nothing is missing to be filled."""
    folder = tmp_path_factory.mktemp("learning")
    scenario, study = scenario_of("three-hospitals", 2 * HELD_OUT), study_of()
    site = scenario.site("hospital-a").model_copy(update={"losses": Losses(patterns=(STRUCTURAL,))})
    scenario = scenario.model_copy(update={"sites": (site,)})
    phantoms = open_phantoms(study, scenario, folder, 2024, 2, lambda *_: None)
    domains = phantoms.plan.domains(study)
    model = build_model(Stage.GENERATOR, study, domains, torch_generator(study.seed, "initial", "generator"))
    weights = folder / "generator.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, weights)
    return SimpleNamespace(phantoms=phantoms, generator=Trained(Stage.GENERATOR, weights), folder=folder)
