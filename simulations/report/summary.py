"""`summary.json`: what a run did, measured and missed; one versioned schema, documented field by field.

`docs/reference/summary.md` is written from these models by `simulations.report.reference`. A field is None where
nothing could be measured; no measure is ever replaced by a good-looking default.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from common.errors import ReleaseError
from common.files import write_whole
from common.sequences import Sequence
from common.settings.frozen import Frozen
from common.settings.stages import Stage

RESEARCH_USE_ONLY = (
    "Research use only. Not a medical device: nothing here may guide the care of a patient. "
    "Synthetic images show what a model expects, not what a scanner measured."
)

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Greys = Annotated[float, Field(ge=0, le=255)]
Seconds = Annotated[float, Field(ge=0)]
Method = Literal["generator", "copy", "best copy", "constant", "tone curve"]
MapMethod = Literal["model", "constant", "tone curve"]


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


Way = Literal["held-out", "resubstitution", "continued"]


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


class Measure(Frozen):
    """Mean over patients of the fidelity inside the brain, on every second slice, in grey levels of 0 … 255."""

    mae: Greys = Field(description="mean absolute error, grey levels")
    psnr_db: float = Field(description="peak signal-to-noise ratio, dB; 100 for identical images")
    ssim: float = Field(description="structural similarity, at most 1")


class PairFidelity(Frozen):
    """One ordered pair of sequences at one site."""

    site: str = Field(description="the site whose patients were translated")
    source: Sequence = Field(description="the sequence that was given")
    target: Sequence = Field(description="the sequence that was wanted")
    style_of: str = Field(description="the site whose domain was asked for: the own one where it exists")
    patients: Count = Field(description="patients measured")
    brain: dict[Method, Measure | None] = Field(
        description="per method the fidelity inside the brain; None where a baseline could not be fitted"
    )
    lesion_mae: dict[Method, Greys | None] = Field(
        description="per method the error inside the whole tumour; None where no patient has one"
    )


class IdentityError(Frozen):
    """Own domain to own domain: what the generator changes although nothing should change."""

    site: str = Field(description="the site")
    sequence: Sequence = Field(description="source and target alike")
    patients: Count = Field(description="patients measured")
    mae: Greys = Field(description="mean absolute error inside the brain, grey levels")


class FillGap(Frozen):
    """How much better the generator fills patients that it has seen, and by whom the later stages' fills were drawn."""

    training_mae: Greys | None = Field(description="error of fills of training patients, grey levels")
    held_out_mae: Greys | None = Field(description="error of fills of held-out patients, over the same pairs")
    cross_fitted_mae: Greys | None = Field(
        default=None,
        description="error of fills of training patients by generators that did not see them; null without cross_fit",
    )
    training_patients: Count = Field(description="training patients measured")
    held_out_patients: Count = Field(description="held-out patients measured")


class Hypotheses(Frozen):
    """T1Gd drawn under both labels from one noise; means over patients, errors against the true T1Gd."""

    site: str = Field(description="the site, or `all`")
    patients: Count = Field(description="patients with a tumour core")
    core_change: Greys | None = Field(description="mean |T1Gd+ − T1Gd−| inside the tumour core, grey levels")
    normal_change: Greys | None = Field(description="the same in the brain outside the tumour")
    right_label_wins: Count = Field(description="patients whose true label has the smaller error inside the core")
    compared: Count = Field(description="patients whose BBB status and T1Gd are known")
    share: Share | None = Field(description="right_label_wins / compared")
    low: Share = Field(description="lower end of the exact 95 % interval of the share")
    high: Share = Field(description="upper end of it")
    core_mae: Greys | None = Field(description="error inside the core under the true label")
    brain_mae: Greys | None = Field(description="error inside the brain under the true label")
    copy_brain_mae: Greys | None = Field(description="error inside the brain of T1 offered as T1Gd")


class Segmentation(Frozen):
    """Overlap with the reference masks, with all sequences real or one replaced by its fill; means over patients."""

    site: str = Field(description="the site, or `all`")
    filled: Sequence | None = Field(description="the sequence that was filled; None: all real")
    patients: Count = Field(description="patients measured")
    dice: dict[Literal["WT", "TC", "ET"], Share | None] = Field(
        description="Dice of whole tumour, core and enhancing tumour; None where no patient has such labels"
    )
    hd95_mm: float | None = Field(description="95th percentile of the surface distance of the whole tumour")


class MapMeasure(Frozen):
    """How like a drawn map is to the true one inside a mask, on every second slice, in grey levels of 0 … 255."""

    mae: Greys = Field(description="mean absolute error, grey levels")
    ssim: float = Field(description="structural similarity, at most 1")
    r: float | None = Field(description="Pearson's correlation over voxels; None where one of the two is constant")


class MapFidelity(Frozen):
    """The target of the maps stage drawn from one subset of its inputs, over all sites; means over patients."""

    target: Sequence = Field(description="what was drawn")
    method: MapMethod = Field(description="the model, or what needs no network, fitted on all sites' training patients")
    inputs: tuple[Sequence, ...] = Field(description="what was given; empty for the constant")
    patients: Count = Field(description="patients measured")
    brain: MapMeasure = Field(description="inside the brain")
    core: MapMeasure | None = Field(description="inside the tumour core; None where no patient has one")
    bias: float | None = Field(
        description="drawn minus true mean in the core, as a share of the true one: median over patients"
    )
    scatter: float | None = Field(description="standard deviation of that share over patients")


class AucFacts(Frozen):
    """An area under the ROC curve; `value` is None where one class is empty."""

    of: str = Field(
        description="`identifier`, by mean probabilities; `shares`, by the thresholded shares of slices; or `latent`: "
        "the phantom's own hidden scalar on the same patients"
    )
    site: str = Field(description="the site, or `all`")
    value: Share | None = Field(description="the area; ties count one half")
    low: Share | None = Field(description="lower end of its 95 % interval")
    high: Share | None = Field(description="upper end of it")
    positives: Count = Field(description="patients with a disrupted barrier")
    negatives: Count = Field(description="patients with an intact barrier")
    note: str = Field(description="how the interval was found, or why there is none")


class Identification(Frozen):
    """BBB status from sequences without gadolinium."""

    ceiling: Share | None = Field(description="the best AUC that any non-contrast method can reach; phantoms only")
    indeterminate: dict[str, Count] = Field(
        description="patients without a decision, by reason; one without any score counts as a tie in the areas"
    )
    accuracy: Share | None = Field(description="share of right decisions among the decided")
    decided: Count = Field(description="patients with a decision and a known status")
    coverage: Share | None = Field(default=None, description="share of the patients of known status with a decision")
    brier: Share | None = Field(
        default=None, description="mean squared error of the calibrated probabilities; null where none was fitted"
    )
    thresholds: str = Field(default="", description="the two thresholds, and how they were found")
    areas: tuple[AucFacts, ...] = Field(description="identifier, shares and latent, all sites and each")
    roc: dict[str, tuple[tuple[float, float], ...]] = Field(
        description="corners (false, true positive rate) of the curves of `identifier` and `latent`, all sites"
    )


class Target(Frozen):
    """One thing that the run was asked to reach."""

    name: str = Field(description="short name")
    text: str = Field(description="what was asked for, in words")
    value: float | None = Field(description="what was reached")
    limit: float | None = Field(description="the bound; None where the figure is only reported")
    direction: Literal["at most", "at least", "reported"] = Field(description="which side of the bound is good")
    status: Literal["met", "missed", "not measured", "reported"] = Field(description="the verdict")
    detail: str = Field(description="what else there is to say")


class Cost(Frozen):
    """What the run took on this machine."""

    phases_s: dict[str, Seconds] = Field(description="wall time of each phase, seconds")
    wall_s: Seconds = Field(description="wall time of this invocation, seconds")
    peak_memory_bytes: Count = Field(description="largest resident size of this process")
    peak_memory_children_bytes: Count = Field(description="largest resident size of any one child process")
    processors: Count = Field(description="processors of the machine")
    resumed: bool = Field(description="whether an earlier run was continued, so that times cover a part only")


class Summary(Frozen):
    """The whole of `summary.json`."""

    schema_version: Literal[1] = Field(default=1, description="version of this schema")
    research_use_only: str = Field(default=RESEARCH_USE_ONLY, description="the limits of use")
    versions: Versions = Field(description="what ran")
    study: StudyFacts = Field(description="which study")
    data: DataFacts = Field(description="on what data, and how honest the figures can be")
    targets: tuple[Target, ...] = Field(description="what was asked for, met and missed alike")
    contract: ContractFacts | None = Field(default=None, description="who was registered, asked, and contributed")
    stages: tuple[StageFacts, ...] = Field(description="losses and bytes, round by round")
    fidelity: tuple[PairFidelity, ...] = Field(description="translation, site by site and pair by pair")
    identity: tuple[IdentityError, ...] = Field(description="translation of a domain into itself")
    fill_gap: FillGap | None = Field(description="how much better fills of training patients are than of others")
    hypotheses: tuple[Hypotheses, ...] = Field(description="the diffusion model's two T1Gd, all sites and each")
    segmentation: tuple[Segmentation, ...] = Field(description="Dice with all real and with one filled")
    identification: Identification | None = Field(description="BBB status")
    maps: tuple[MapFidelity, ...] = Field(default=(), description="maps, subset by subset of their inputs")
    failures: tuple[str, ...] = Field(description="patients or steps that could not be evaluated, and why")
    cost: Cost = Field(description="time and memory")

    @property
    def missed(self) -> tuple[Target, ...]:
        """The targets that were not reached."""
        return tuple(target for target in self.targets if target.status == "missed")


def write_summary(path: Path, summary: Summary) -> None:
    """Write `summary` as indented JSON, aside and renamed. Raises GliofedError where the disk refuses."""
    write_whole(path, (json.dumps(summary.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode())


def load_summary(path: Path) -> Summary:
    """Read `summary.json` back. Raises ReleaseError where it is missing or does not fit the schema."""
    try:
        return Summary.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ReleaseError(
            f"{path}: cannot be read ({error.strerror}); give the summary.json of a finished run"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ReleaseError(
            f"{path}: {where}: {first['msg']}; written by another version of gliofed-sim? Run it again"
        ) from None
