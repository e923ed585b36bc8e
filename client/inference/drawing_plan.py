"""How a study's synthesiser is asked for pictures: which family's sampler, from which conditions, how many samples."""

from __future__ import annotations

from dataclasses import dataclass

from common.generative.noise_schedule import schedule_of
from common.generative.samplers import DiffusionSampler, DirectSampler, FlowSampler, Sampler
from common.sequences import Sequence
from common.settings.stages import SynthesiserStage

LARGEST_DIFFERENCE = 2.0


@dataclass(frozen=True)
class DrawingPlan:
    """What of the study's settings drawing depends on.

    Attributes:
        sampler: from noise to the picture.
        conditions: sequences that the network sees, in its order.
        slices: neighbouring slices of each, the drawn one in the middle.
        samples: pictures to draw of each slice.
        difference: what is drawn is T1Gd less the T1 shown.
        may_lack: training hid conditions at times, so that one may be missing.
    """

    sampler: Sampler
    conditions: tuple[Sequence, ...] = (Sequence.T1, Sequence.FLAIR)
    slices: int = 1
    samples: int = 1
    difference: bool = False
    may_lack: bool = False

    @property
    def base(self) -> int | None:
        """The channel of T1's drawn slice where a difference is added to it."""
        return self.conditions.index(Sequence.T1) * self.slices + self.slices // 2 if self.difference else None

    def can_draw(self, there: frozenset[Sequence]) -> bool:
        """Whether T1Gd can be drawn where the conditions `there`, real or filled, can be had."""
        needed = set(self.conditions) if not self.may_lack else {Sequence.T1} if self.difference else set()
        return bool(there & set(self.conditions)) and needed <= there


def plan_of(settings: SynthesiserStage, sampling_steps: int | None = None) -> DrawingPlan:
    """Return the plan of a study, with other sampling steps where given."""
    steps = sampling_steps or settings.sampling_steps
    limit = LARGEST_DIFFERENCE if settings.target == "difference" else 1.0
    match settings.synthesiser:
        case "diffusion":
            schedule = schedule_of(settings.noise_schedule, settings.diffusion_steps)
            sampler: Sampler = DiffusionSampler(schedule, steps, settings.prediction, limit, settings.sampler)
        case "flow":
            sampler = FlowSampler(settings.solver, steps, limit)
        case "e2e":
            sampler = DirectSampler(limit)
    return DrawingPlan(
        sampler=sampler,
        conditions=settings.conditions,
        slices=settings.slices,
        samples=settings.samples,
        difference=settings.target == "difference",
        may_lack=settings.condition_dropout > 0,
    )
