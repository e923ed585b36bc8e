"""The part of `summary.json` that says what was measured. A field is None where nothing could be."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from common.sequences import Sequence
from common.settings.frozen import Frozen
from simulations.report.ranges import Count, Greys, Share

Method = Literal["generator", "copy", "best copy", "constant", "tone curve"]
MapMethod = Literal["model", "constant", "tone curve"]


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
