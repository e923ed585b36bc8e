"""Shadow models: the ratio finds members that a loss alone cannot tell, and guesses where nothing is kept."""

import numpy as np
import pytest

from common.metrics.classification import area_under_roc
from simulations.attacks.likelihood_ratio import Shadows, likelihood_ratios
from simulations.attacks.shadow_models import halves


def shadows(gain, models=16, patients=40, seed=0):
    """Log losses of patients of very different difficulty, lower by `gain` where a model was trained on them."""
    generator, inside = np.random.default_rng(seed), halves(patients, models, seed=1)
    difficulty = generator.normal(0, 3, patients)
    logs = difficulty + generator.normal(0, 0.5, inside.shape) - gain * inside
    return Shadows(np.exp(logs), inside)


def area(scores, inside):
    return area_under_roc(scores.ravel().tolist(), inside.ravel().tolist()).value


def test_every_patient_is_in_exactly_half_of_the_models_and_no_model_has_all():
    inside = halves(7, 6, seed=2)
    assert (inside.sum(axis=0) == 3).all() and set(inside.sum(axis=1)) == {3, 4}


def test_the_ratio_tells_members_apart_where_difficulty_hides_them_from_the_loss():
    found = shadows(gain=1.0)
    assert area(-found.losses, found.inside) < 0.65 < 0.85 < area(likelihood_ratios(found), found.inside)


@pytest.mark.parametrize("models", [6, 16])
def test_the_ratio_guesses_where_training_leaves_no_trace_however_few_the_shadows(models):
    every = [shadows(gain=0.0, models=models, seed=seed) for seed in range(20)]
    areas = [area(likelihood_ratios(found), found.inside) for found in every]
    assert abs(np.mean(areas) - 0.5) < 0.025


def test_too_few_shadows_are_refused():
    few = shadows(gain=1.0, models=2)
    with pytest.raises(ValueError, match="2 are needed; train more of them"):
        likelihood_ratios(few)
