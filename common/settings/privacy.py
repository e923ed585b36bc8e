"""`[privacy]`: which stages are trained with differential privacy for every patient, and how much they may cost."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from common.settings.assessment import Assessment
from common.settings.frozen import Frozen, Rate
from common.settings.stages import FOLDS, Stage, Stages

USE_VALIDATION = frozenset({Stage.SYNTHESISER, Stage.SEGMENTER, Stage.IDENTIFIER})
"""The stages that leave the validation patients out."""


class Privacy(Frozen):
    """DP-SGD whose sampled unit is the patient (docs/concepts/privacy.md says what it proves).

    At every step of a stage in `stages` a site draws each of its patients by a lot of its own with probability
    `sampling_rate`, clips what each contributes to the norm `clip_norm`, and adds noise of standard deviation
    `noise_multiplier` x `clip_norm`. A round that would take a site's spending in this study above `epsilon`, at
    `delta`, is not trained there.
    """

    stages: tuple[Stage, ...] = ()
    noise_multiplier: Annotated[float, Field(ge=0.3, le=100)] = 2.0
    clip_norm: Annotated[float, Field(gt=0, le=1e4)] = 1.0
    sampling_rate: Rate = 0.1
    delta: Annotated[float, Field(gt=0, le=0.01)] = 1e-5
    epsilon: Annotated[float, Field(gt=0, le=1000)] = 8.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.stages)) != len(self.stages):
            raise ValueError("stages: a stage is named twice")
        wrong = [stage for stage in self.stages if stage in (*FOLDS, Stage.CALIBRATION)]
        if wrong:
            raise ValueError(f"stages: {wrong[0]} has no settings of its own; name generator, synthesiser, and so on")
        return self

    def covers(self, stage: Stage) -> bool:
        """Say whether `stage` is trained privately."""
        return stage in self.stages

    def problem(self, stages: Stages, assessment: Assessment) -> str | None:
        """Return why the private stages cannot be trained so beside the study's other settings, or None."""
        absent = [stage for stage in self.stages if stage not in stages.present]
        if absent:
            return f"privacy.stages: the study has no stage {absent[0]}; add [stages.{absent[0]}] or remove the name"
        if not self.stages:
            return None
        if assessment.site_alone:
            return (
                "assessment.site_alone: a site by itself would spend its patients' privacy once more, on weights that "
                "nobody gets; set it to false, or privacy.stages to []"
            )
        if stages.generator is not None and stages.generator.cross_fit:
            return (
                "stages.generator.cross_fit: folds are dealt out by what all patients hold, so that one patient "
                "changes what is drawn of others, and no noise covers that; set it to false, or privacy.stages to []"
            )
        if Stage.GENERATOR in self.stages and stages.generator is not None and stages.generator.start_from:
            return (
                "stages.generator.start_from: the earlier generator may have learnt from the same patients without "
                "noise; remove it, or generator from privacy.stages"
            )
        validated = stages.identifier is not None and stages.identifier.validation_fraction > 0
        if validated and USE_VALIDATION & set(self.stages):
            return (
                "stages.identifier.validation_fraction: validation patients are chosen by their number, and what is "
                "counted of them leaves without noise; set it to 0 beside privacy.stages"
            )
        return None
