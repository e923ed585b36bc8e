"""The ablations' shortcut: the same rounds without messages must give the very weights that a federation gives."""

from types import SimpleNamespace

import pytest
import torch

from client.app import make_app
from client.training.tasks import Bench
from common.plan import Plan
from common.release import load_release
from common.sequences import STRUCTURAL
from common.settings.stages import SegmenterStage, Stage
from simulations.ablations.phantoms import Phantoms
from simulations.ablations.training import settings_key, train_stage
from simulations.federation import run_federation
from tests.federation.test_real_stages import ROUNDS, hospitals  # noqa: F401 (a fixture)


@pytest.fixture
def study(tiny: SimpleNamespace):
    return tiny.make_study(
        data="holdout_fraction = 0.34",
        stages__generator=ROUNDS,
        stages__synthesiser=ROUNDS + "\ndiffusion_steps = 20\nsampling_steps = 2",
    )


def phantoms_of(tiny, study, hospitals) -> Phantoms:  # noqa: F811
    sites = {name: tiny.open_cached(path, study) for name, path in hospitals.items()}
    return Phantoms(sites, (), None, Plan(study_digest=study.digest, inventory=[s.inventory for s in sites.values()]))


def test_rounds_without_messages_give_the_weights_of_the_federation(tiny, study, hospitals, tmp_path):  # noqa: F811
    client = make_app(tiny.open_cached, Bench(device=torch.device("cpu")))
    run_federation(study, hospitals, tmp_path / "run", client=client).require_complete()
    release = load_release(tmp_path / "run")
    phantoms = phantoms_of(tiny, study, hospitals)
    heard = []
    generator = train_stage(
        study, Stage.GENERATOR, phantoms, {}, tmp_path / "weights", lambda *done: heard.append(done)
    )
    synthesiser = train_stage(
        study, Stage.SYNTHESISER, phantoms, {Stage.GENERATOR: generator}, tmp_path / "weights", lambda *_: None
    )
    assert heard == [(1, 2), (2, 2)]
    for trained in (generator, synthesiser):
        expected = release.tensors(trained.stage)
        assert trained.tensors.keys() == expected.keys()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in trained.tensors.items())
    assert set(STRUCTURAL) <= {domain.sequence for domain in phantoms.plan.domains(study)}


def test_a_trained_stage_is_found_again_and_another_setting_is_another_stage(tiny, study, hospitals, tmp_path):  # noqa: F811
    phantoms = phantoms_of(tiny, study, hospitals)
    first = train_stage(study, Stage.GENERATOR, phantoms, {}, tmp_path, lambda *_: None)
    again = train_stage(study, Stage.GENERATOR, phantoms, {}, tmp_path, lambda *_: pytest.fail("trained again"))
    assert again == first and first.seconds > 0
    later = study.model_copy(update={"stages": study.stages.model_copy(update={"segmenter": SegmenterStage()})})
    assert settings_key(later, Stage.GENERATOR) == settings_key(study, Stage.GENERATOR)
    other = study.model_copy(update={"data": study.data.model_copy(update={"pairs": "ignore"})})
    assert settings_key(other, Stage.GENERATOR) != settings_key(study, Stage.GENERATOR)
