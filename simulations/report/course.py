"""The part of `summary.json` that says how a run went: what ran, on whose data, round by round, at what cost."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from common.sequences import Sequence
from common.settings.frozen import Frozen
from common.settings.stages import Stage
from simulations.report.ranges import Count, Seconds

Way = Literal["held-out", "resubstitution", "continued"]


class Versions(Frozen):
    """What ran."""

    gliofed: str = Field(description="version of the distribution")
    code: str = Field(description="version and hash over all sources that run at a site or at the coordinator")
    python: str = Field(description="Python version")
    torch: str = Field(description="PyTorch version")
    flower: str = Field(description="Flower version")
    platform: str = Field(description="operating system and processor, in words")


class StudyFacts(Frozen):
    """Which study ran; `study.toml` beside the summary holds every setting."""

    name: str = Field(description="the study's name")
    digest: str = Field(description="SHA-256 over the canonical study and the code version")
    seed: int = Field(description="the study's seed")
    size: str = Field(description="model size")
    scale: str = Field(description="`tiny`: rounds as the study file says, or `small`: a multiple of them")
    engine: str = Field(description="`in-process` or `ray`")
    reference_site: str = Field(description="the site whose look all others are harmonized to")
    release: str = Field(description="SHA-256 of the release that was evaluated")


class SiteFacts(Frozen):
    """What one site brought."""

    site: str = Field(description="the site's name")
    training_patients: Count = Field(description="patients that the models saw")
    held_out_patients: Count = Field(description="patients that no model saw")
    sequences: dict[Sequence, Count] = Field(description="training patients that hold each sequence")
    labelled_patients: Count = Field(description="training patients with a tumour mask")
    bbb_patients: Count = Field(description="training patients whose BBB status is known")


class DataFacts(Frozen):
    """What the run was measured on."""

    kind: Literal["synthetic phantom", "real"] = Field(description="where the scans come from")
    evaluation: Way = Field(
        description="`held-out`: patients no model saw; `resubstitution`: the training patients, which flatters; "
        "`continued`: held out now, but the release that the generator goes on from may have seen some of them"
    )
    note: str = Field(description="one sentence on what the figures can and cannot say")
    sites: tuple[SiteFacts, ...] = Field(description="one entry a site")


class Traffic(Frozen):
    """What one site received and sent in a round: tensors, texts and metrics, without Flower's wrapping."""

    received_bytes: Count = Field(description="bytes of the messages to the site")
    sent_bytes: Count = Field(description="bytes of its answer")


class RoundFacts(Frozen):
    """One round of one stage."""

    round: Annotated[int, Field(ge=1)] = Field(description="number of the round, from 1")
    seconds: Seconds = Field(description="wall time from the first message to the checkpoint")
    bytes_to_sites: Count = Field(description="tensor bytes sent to all sites")
    bytes_from_sites: Count = Field(description="tensor bytes received from all sites")
    traffic: dict[str, Traffic] = Field(default_factory=dict, description="per site what it received and sent")
    contributed: tuple[str, ...] = Field(description="sites whose update was counted")
    absent: dict[str, str] = Field(description="sites that did not count, with the code of the reason")
    alarms: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="per site what alarmed in its adversarial game, such as `mode-collapse`"
    )
    losses: dict[str, dict[str, float]] = Field(description="per site the mean of each loss over the round's steps")


class StageFacts(Frozen):
    """One model family's rounds."""

    stage: Stage = Field(description="the stage")
    parameters: Count = Field(description="number of values in the released model")
    rounds: tuple[RoundFacts, ...] = Field(description="its rounds in order")


class StageSites(Frozen):
    """One stage's sites."""

    asked: tuple[str, ...] = Field(description="asked in some round")
    contributed: tuple[str, ...] = Field(description="whose update counted in some round")
    sat_out: tuple[str, ...] = Field(description="that had nothing to learn the stage from")


class ContractFacts(Frozen):
    """The participation contract, as it was kept."""

    registered: tuple[str, ...] = Field(description="sites on the roster")
    configured: tuple[str, ...] = Field(description="sites that the study names")
    planned: tuple[str, ...] = Field(description="sites in the frozen plan")
    withdrawn: tuple[str, ...] = Field(description="sites that were withdrawn as a whole")
    stages: dict[str, StageSites] = Field(description="per stage, folds and calibration too, who did what")


class Cost(Frozen):
    """What the run took on this machine."""

    phases_s: dict[str, Seconds] = Field(description="wall time of each phase, seconds")
    wall_s: Seconds = Field(description="wall time of this invocation, seconds")
    peak_memory_bytes: Count = Field(description="largest resident size of this process")
    peak_memory_children_bytes: Count = Field(description="largest resident size of any one child process")
    processors: Count = Field(description="processors of the machine")
    resumed: bool = Field(description="whether an earlier run was continued, so that times cover a part only")
