"""CBSI part by part (the paper's Table 2), slices against stacks of slices, and the sampler and its steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from torch import nn

from client.inference.drawing_plan import plan_of
from client.inference.fill import Translator, pick_source
from client.inference.identify import identify_case
from client.inference.segment import segment_volume, whole_tumour
from client.inference.synthesise import HypothesesVolume, hypotheses_volume
from common.generative.samplers import Method
from common.sequences import STRUCTURAL, Sequence
from common.settings.stages import IdentifierStage, Stage, SynthesiserStage
from common.study import Study
from simulations.ablations.drawings import draw_all, measure_drawings
from simulations.ablations.feature_encoder import FeatureEncoder
from simulations.ablations.generator_arms import FULL as GENERATOR_ARM
from simulations.ablations.generator_arms import train_arm
from simulations.ablations.phantoms import Phantoms
from simulations.ablations.records import Figures
from simulations.ablations.training import OnRound, Trained, train_stage
from simulations.comparison.subject import Pencil, Subject

FULL = "ET + SEG + CML"
SAMPLERS: tuple[tuple[Method, int], ...] = (
    *(("ddim", steps) for steps in (1, 2, 4, 10, 50, 100)),
    *(("dpm", steps) for steps in (4, 6, 8, 10)),
)
"""Samplers and their steps that are compared on one trained network."""
SAMPLED_PATIENTS = 5
"""Held-out patients a site on whom samplers are compared; a hundred steps take time."""


@dataclass(frozen=True)
class Arm:
    """One row: what of the synthesiser it changes, and whether the identifier learns by contrast."""

    synthesiser: Mapping[str, object]
    contrastive: bool


ARMS = {
    "baseline": Arm({"use_label": False, "segmentation_weight": 0.0}, False),
    "ET": Arm({"segmentation_weight": 0.0}, False),
    "ET + SEG": Arm({}, False),
    FULL: Arm({}, True),
    "ET + SEG + CML, 7 slices": Arm({"slices": 7}, True),
}


@dataclass(frozen=True)
class Models:
    """What all arms of a seed share: the generator that fills and the segmenter that finds the tumour."""

    generator: Trained
    segmenter: Trained


def arm_study(study: Study, arm: Arm) -> Study:
    """Return the study of an arm."""
    stages = study.stages
    if stages.synthesiser is None or stages.identifier is None:
        raise ValueError("the ablation's study needs a synthesiser and an identifier stage")
    synthesiser = SynthesiserStage.model_validate({**stages.synthesiser.model_dump(), **arm.synthesiser})
    identifier = IdentifierStage.model_validate({**stages.identifier.model_dump(), "contrastive": arm.contrastive})
    changed = stages.model_copy(update={"synthesiser": synthesiser, "identifier": identifier})
    return study.model_copy(update={"stages": changed})


def train_shared(study: Study, phantoms: Phantoms, folder: Path, on_round: OnRound) -> Models:
    """Train generator and segmenter of a seed, or find them trained."""
    generator = train_arm(GENERATOR_ARM, study, phantoms, folder, on_round)
    earlier = {Stage.GENERATOR: generator}
    return Models(generator, train_stage(study, Stage.SEGMENTER, phantoms, earlier, folder / "weights", on_round))


@dataclass(frozen=True)
class Contestant:
    """An arm's trained networks, ready to draw and to judge held-out patients."""

    study: Study
    synthesiser: nn.Module
    identifier: nn.Module
    segmenter: nn.Module
    pencil: Pencil
    contrastive: bool

    @property
    def settings(self) -> SynthesiserStage:
        """The arm's synthesiser settings."""
        settings = self.study.stages.synthesiser
        assert settings is not None, "arm_study saw to it"  # noqa: S101
        return settings

    def sampling(self, sampler: Method, steps: int) -> Contestant:
        """Return the same networks, drawing with another sampler."""
        settings = self.settings.model_copy(update={"sampler": sampler, "sampling_steps": steps})
        stages = self.study.stages.model_copy(update={"synthesiser": settings})
        return replace(self, study=self.study.model_copy(update={"stages": stages}))

    def draw(self, subject: Subject) -> HypothesesVolume | None:
        """Draw both hypotheses from the subject's true conditions; None where it lacks one."""
        plan = plan_of(self.settings)
        if not set(plan.conditions) <= set(subject.truth.sequences):
            return None
        condition = np.stack([subject.truth.slices(sequence) for sequence in plan.conditions])
        return hypotheses_volume(self.synthesiser, plan, condition, self.study.seed, subject.truth.brain())

    def score(self, subject: Subject, volumes: HypothesesVolume) -> float:
        """Return the identifier's graded score of a barrier that is disrupted; real T1Gd is not looked at."""
        truth = subject.truth
        images = {sequence: truth.slices(sequence) for sequence in STRUCTURAL if sequence in truth.sequences}
        free = set(images) - {Sequence.T1GD}
        source, domain = pick_source(Sequence.T1GD, free), self.pencil.domain(subject.site, Sequence.T1GD)
        if source is None or domain is None:
            raise ValueError("no source or no domain to fill T1Gd from")
        images[Sequence.T1GD] = self.pencil.draw(subject, source, domain)
        probability = segment_volume(self.segmenter, np.stack([images[sequence] for sequence in STRUCTURAL]))
        tumour = whole_tumour(probability, float(abs(np.linalg.det(truth.affine[:3, :3]))) / 1000)
        seen = [images[Sequence.T1], images[Sequence.FLAIR], volumes.enhancing, volumes.non_enhancing]
        return identify_case(self.identifier, np.stack(seen), tumour, contrastive=self.contrastive).score


def train_contestant(
    name: str, study: Study, phantoms: Phantoms, models: Models, folder: Path, on_round: OnRound
) -> Contestant:
    """Train an arm's synthesiser and identifier, or find them trained; arms of equal settings share them."""
    arm = ARMS[name]
    changed, weights = arm_study(study, arm), folder / "weights"
    earlier = {Stage.GENERATOR: models.generator}
    synthesiser = train_stage(changed, Stage.SYNTHESISER, phantoms, earlier, weights, on_round)
    earlier |= {Stage.SYNTHESISER: synthesiser, Stage.SEGMENTER: models.segmenter}
    identifier = train_stage(changed, Stage.IDENTIFIER, phantoms, earlier, weights, on_round)
    domains = tuple(domain for domain in phantoms.plan.domains(study) if not domain.lesion)
    generator = cast(Translator, models.generator.model(changed, phantoms))
    return Contestant(
        study=changed,
        synthesiser=synthesiser.model(changed, phantoms),
        identifier=identifier.model(changed, phantoms),
        segmenter=models.segmenter.model(changed, phantoms),
        pencil=Pencil(generator, domains, study.reference_site),
        contrastive=arm.contrastive,
    )


def measure_contestant(contestant: Contestant, subjects: Iterable[Subject], encoder: FeatureEncoder) -> Figures:
    """Return a contestant's figures on held-out patients."""
    return measure_drawings(draw_all(subjects, contestant.draw), contestant.score, encoder)


def first_of_each_site(subjects: Iterable[Subject]) -> list[Subject]:
    """Return the first `SAMPLED_PATIENTS` subjects of each site."""
    by_site: dict[str, list[Subject]] = {}
    for subject in subjects:
        by_site.setdefault(subject.site, []).append(subject)
    return [subject for group in by_site.values() for subject in group[:SAMPLED_PATIENTS]]
