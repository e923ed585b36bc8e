"""`[stages]`: which model families a study trains, in which order, and how each learns."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from common.sequences import NEEDS_GADOLINIUM, Sequence
from common.settings.federation import LONGEST_DEADLINE_S
from common.settings.frozen import Frozen, Positive, Rate, Weight


class Stage(StrEnum):
    """A model family's rounds, in the order in which they run.

    The folds are generators of half the patients each, which fill the other half (`[stages.generator] cross_fit`); the
    calibration scores the validation patients with the averaged identifier. Both follow from the settings of their
    family, have no table of their own, and are not released.
    """

    GENERATOR = "generator"
    GENERATOR_FOLD_1 = "generator-fold-1"
    GENERATOR_FOLD_2 = "generator-fold-2"
    SYNTHESISER = "synthesiser"
    SEGMENTER = "segmenter"
    IDENTIFIER = "identifier"
    CALIBRATION = "calibration"
    MAPS = "maps"


FOLDS = (Stage.GENERATOR_FOLD_1, Stage.GENERATOR_FOLD_2)
"""The generators that train on one half of each site's training patients."""


class StageSettings(Frozen):
    """What all stages have in common; one round is `local_steps` optimiser steps at each site.

    `learning_rate_decay = "cosine"` lets every rate of the stage fall along half a cosine, over all its rounds, to a
    fiftieth; `"steps"` divides it by ten at half and again at four fifths of them (CBSI's synthesiser); `"none"` keeps
    it. Through `warm_up`, a share of the rounds, every rate first rises from a fiftieth (CBSI's identifier).
    `deadline_s` of None is the federation's.
    """

    rounds: Positive = 4
    local_steps: Positive = 50
    batch_size: Annotated[int, Field(ge=1, le=512)] = 8
    learning_rate: Rate = 1e-3
    learning_rate_decay: Literal["none", "cosine", "steps"] = "none"
    warm_up: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    weight_decay: Weight = 1e-4
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    deadline_s: Annotated[float, Field(gt=0, le=LONGEST_DEADLINE_S)] | None = None


class GeneratorStage(StageSettings):
    """UMMGAT (npj Precis Onc 9:384): its networks, and the weights of the unpaired game and of the paired term.

    `cross_fit` also trains two generators on half of each site's training patients, with these same settings: the later
    stages then fill a training patient by the one that did not see that patient. It triples the generator's time.
    A `discriminator` that is "local" never leaves its site, trunk and heads: towards other sites' domains a site then
    learns by style and cycle alone.
    """

    cross_fit: bool = False
    backbone: Literal["swin", "convnext"] = "swin"
    first_weights: Literal["he", "uniform"] = "he"
    start_from: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    discriminator: Literal["shared", "local"] = "shared"
    adam_beta_1: Annotated[float, Field(ge=0, lt=1)] = 0.0
    discriminator_learning_rate: Rate = 2e-3
    adversarial_weight: Weight = 1.0
    r1_weight: Weight = 1.0
    r1_every: Annotated[int, Field(ge=1, le=64)] = 1
    style_weight: Weight = 1.0
    lesion_style_weight: Weight = 1.0
    diversity_weight: Weight = 0.0
    cycle_weight: Weight = 1.0
    identity_weight: Weight = 1.0
    paired_weight: Weight = 10.0
    paired_lesion_weight: Weight = 5.0


class SynthesiserStage(StageSettings):
    """T1Gd under either label: CBSI diffusion (Nat Commun 17:2162), or flow matching or end to end (seed 001).

    `prediction`, `noise_schedule`, `diffusion_steps`, `sampler` concern the diffusion alone, `solver` the flow alone;
    `sampling_steps` are the sampler's or the solver's. `slices` = 7 is 2.5-D. With `target = "difference"` the network
    draws T1Gd - T1.

    CBSI's published code trains otherwise than its paper, and settings say so: `ema_decay` = 0 (no moving average),
    `learning_rate` = 1e-5, `weight_decay` = 0, `condition_dropout` = 0, `lesion_weight` = 0, `batch_size` = 2,
    `sampling_steps` = 100. Its Adam betas (0.9, 0.99) and its network have none.
    """

    synthesiser: Literal["diffusion", "flow", "e2e"] = "diffusion"
    prediction: Literal["image", "noise", "velocity"] = "image"
    target: Literal["image", "difference"] = "image"
    conditions: Annotated[tuple[Sequence, ...], Field(min_length=1)] = (Sequence.T1, Sequence.FLAIR)
    slices: Literal[1, 3, 5, 7] = 1
    condition_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    use_label: bool = True
    noise_schedule: Literal["cosine", "linear"] = "cosine"
    diffusion_steps: Annotated[int, Field(ge=10, le=4000)] = 1000
    sampler: Literal["ddim", "dpm"] = "ddim"
    sampling_steps: Annotated[int, Field(ge=1, le=1000)] = 10
    solver: Literal["dopri5", "euler", "midpoint", "rk4"] = "dopri5"
    samples: Annotated[int, Field(ge=1, le=500)] = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    segmentation_weight: Weight = 0.1
    lesion_weight: Weight = 5.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_family()
        gadolinium = [sequence for sequence in self.conditions if sequence in NEEDS_GADOLINIUM]
        if gadolinium:
            raise ValueError(f"conditions: {', '.join(gadolinium)} needs gadolinium, which the drawn T1Gd is to spare")
        if len(set(self.conditions)) != len(self.conditions):
            raise ValueError("conditions: a sequence is named twice")
        if self.target == "difference" and Sequence.T1 not in self.conditions:
            raise ValueError('target: "difference" is T1Gd - T1, so T1 must be among conditions')
        if self.condition_dropout and len(self.conditions) == 1:
            raise ValueError("condition_dropout: the only condition is never dropped, set it to 0")
        return self

    def _check_family(self) -> None:
        """Refuse settings that the chosen synthesiser does not have."""
        if self.synthesiser == "diffusion" and self.sampling_steps > self.diffusion_steps:
            raise ValueError("sampling_steps cannot exceed diffusion_steps")
        if self.synthesiser != "diffusion" and self.prediction != "image":
            raise ValueError(f'prediction: only of synthesiser "diffusion", remove it for "{self.synthesiser}"')
        if self.synthesiser != "diffusion" and self.noise_schedule != "cosine":
            raise ValueError(f'noise_schedule: only of synthesiser "diffusion", remove it for "{self.synthesiser}"')
        if self.synthesiser != "diffusion" and self.sampler != "ddim":
            raise ValueError(f'sampler: only of synthesiser "diffusion", remove it for "{self.synthesiser}"')
        if self.prediction == "noise" and self.sampling_steps == 1:
            raise ValueError("sampling_steps: predicted noise says nothing of the image at the first step; take more")
        if self.synthesiser != "flow" and self.solver != "dopri5":
            raise ValueError(f'solver: only of synthesiser "flow", remove it for "{self.synthesiser}"')
        if self.synthesiser == "e2e" and self.samples > 1:
            raise ValueError('samples: synthesiser "e2e" draws one picture, without noise; set it to 1')


class SegmenterStage(StageSettings):
    """WT/TC/ET segmentation of the structural sequences as nnU-Net does it (Nat Methods 18:203), in 2-D or 3-D.

    `fill_probability` hides FLAIR, and others more rarely. `patch`, of a 3-D segmenter alone, counts voxels along I, J
    and K. `mirror_axes` are mirrored by lot in training and, with `test_flips`, one and all at inference; a 2-D
    segmenter leaves the head's direction alone.
    """

    fill_probability: Annotated[float, Field(ge=0, le=1)] = 0.3
    dimensions: Literal[2, 3] = 2
    patch: tuple[Positive, Positive, Positive] | None = None
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    deep_supervision: bool = True
    foreground_share: Annotated[float, Field(ge=0, le=1)] = 0.33
    mirror_axes: tuple[Literal["right", "front", "head"], ...] = ("right", "front", "head")
    test_flips: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.dimensions == 3 and self.patch is None:
            raise ValueError("patch: a 3-D segmenter needs one, voxels right, front, head, such as [64, 80, 16]")
        if self.dimensions == 2 and self.patch is not None:
            raise ValueError("patch: a 2-D segmenter takes whole slices; remove it, or set dimensions = 3")
        return self


class IdentifierStage(StageSettings):
    """BBB identification by contrastive maximum learning (CBSI): slice threshold lambda_c, volume threshold lambda_r.

    Each site keeps `validation_fraction` of its training patients of known status out of this stage's training, and out
    of the synthesiser's and the segmenter's; on all sites' sums over them both thresholds are fitted (best F1) and the
    score is calibrated. `slice_threshold` and `volume_threshold` hold where nothing could be fitted. A case whose
    calibrated probability lies closer than `abstain_margin` to one half stays undecided. Without `contrastive` the
    network classifies the status itself from T1, FLAIR and the mean of both hypotheses, which is the ablation's
    baseline. `weights_sha256` names a file of first weights that the coordinator gives.
    """

    contrastive: bool = True
    validation_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.2
    slice_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    volume_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    abstain_margin: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    weights_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


CALIBRATION_ROUND = StageSettings(rounds=1, local_steps=1, batch_size=1, ema_decay=0.0)
"""One round in which nothing is trained: its result is the sites' weighted mean itself, not a moving average."""


class MapsStage(StageSettings):
    """Paired synthesis of one sequence, CBV above all, from real others (Radiology 308(2):e222471).

    `subsets = "any"` hides other inputs at every step, so that one model serves every subset; `"all-inputs"` trains on
    cases that hold all inputs, as the paper's single models do. `objective` adds a critic to the mean absolute error:
    `"feature-consistency"` (its features of the drawn map shall be those of the true one, and it be deceived) or
    `"pix2pix"` (it sees the inputs beside the map). `ssim_weight` adds 1 - SSIM to any of the three.
    """

    target: Sequence = Sequence.CBV
    inputs: Annotated[tuple[Sequence, ...], Field(min_length=1)] = (
        *(Sequence.T1, Sequence.T2, Sequence.T1GD),
        *(Sequence.FLAIR, Sequence.ADC),
    )
    subsets: Literal["any", "all-inputs"] = "any"
    objective: Literal["mae", "feature-consistency", "pix2pix"] = "mae"
    lesion_weight: Weight = 0.0
    ssim_weight: Weight = 0.0
    adversarial_weight: Weight = 0.01
    feature_weight: Weight = 1.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.target in self.inputs:
            raise ValueError(f"inputs: {self.target} is the target; remove it, or choose another target")
        if len(set(self.inputs)) != len(self.inputs):
            raise ValueError("inputs: a sequence is named twice")
        return self


class Stages(Frozen):
    """The stages that the study runs; each needs the ones before it, but for the maps, which need none."""

    generator: GeneratorStage | None = None
    synthesiser: SynthesiserStage | None = None
    segmenter: SegmenterStage | None = None
    identifier: IdentifierStage | None = None
    maps: MapsStage | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.generator is None:
            raise ValueError("a study needs [stages.generator]: the later stages fill missing sequences with it")
        if self.identifier is not None and (self.synthesiser is None or self.segmenter is None):
            raise ValueError("identifier: needs [stages.synthesiser] and [stages.segmenter] before it")
        return self

    def of(self, stage: Stage) -> StageSettings | None:
        """Return the settings of `stage`, or None where the study leaves it out."""
        if stage in FOLDS:
            return self.generator if self.generator is not None and self.generator.cross_fit else None
        if stage is Stage.CALIBRATION:
            validated = self.identifier is not None and self.identifier.validation_fraction > 0
            return CALIBRATION_ROUND if validated else None
        settings: StageSettings | None = getattr(self, stage.value)
        return settings

    @property
    def present(self) -> tuple[Stage, ...]:
        """The stages that run, in order."""
        return tuple(stage for stage in Stage if self.of(stage) is not None)

    @property
    def released(self) -> tuple[Stage, ...]:
        """The stages whose weights a release holds, in order: folds and calibration are means to train and to judge."""
        return tuple(stage for stage in self.present if stage not in (*FOLDS, Stage.CALIBRATION))
