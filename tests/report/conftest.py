"""A made-up run of three sites: every section of the report has something to show, and one target is missed."""

import numpy as np
import pytest

from common.sequences import STRUCTURAL, Sequence
from common.settings.stages import Stage
from simulations.report.course import Cost, DataFacts, RoundFacts, SiteFacts, StageFacts, StudyFacts, Versions
from simulations.report.measures import (
    AucFacts,
    FillGap,
    Hypotheses,
    Identification,
    IdentityError,
    MapFidelity,
    MapMeasure,
    Measure,
    PairFidelity,
    Segmentation,
)
from simulations.report.pictures import Gallery, Row, crop_to, difference_tile, grey_tile, overlay_tile
from simulations.report.summary import Summary
from simulations.report.targets import (
    hypotheses_targets,
    identification_targets,
    segmentation_targets,
    translation_targets,
)

SITES = ("hospital-a", "hospital-b", "hospital-c")


def pair(site: str, source: Sequence, target: Sequence, drawn: float, copied: float) -> PairFidelity:
    """One ordered pair with the errors given; the other baselines lie between them."""
    between = (drawn + copied) / 2
    return PairFidelity(
        site=site,
        source=source,
        target=target,
        style_of=site,
        patients=4,
        brain={
            "generator": Measure(mae=drawn, psnr_db=22.5, ssim=0.71),
            "copy": Measure(mae=copied, psnr_db=17.0, ssim=0.52),
            "best copy": Measure(mae=copied - 1, psnr_db=17.5, ssim=0.55),
            "constant": Measure(mae=between + 4, psnr_db=18.0, ssim=0.3),
            "tone curve": Measure(mae=between, psnr_db=20.0, ssim=0.6),
        },
        lesion_mae={
            "generator": drawn + 5,
            "copy": copied + 8,
            "best copy": copied + 7,
            "constant": None,
            "tone curve": between + 9,
        },
    )


def all_pairs(drawn: float, copied: float) -> tuple[PairFidelity, ...]:
    """The twelve ordered pairs at each site; hospital-c is the worst."""
    return tuple(
        pair(site, source, target, drawn + 3 * index + STRUCTURAL.index(target), copied)
        for index, site in enumerate(SITES)
        for source in STRUCTURAL
        for target in STRUCTURAL
        if source != target
    )


def rounds(count: int, names: tuple[str, ...]) -> tuple[RoundFacts, ...]:
    """Falling losses at three sites."""
    return tuple(
        RoundFacts(
            round=number,
            seconds=21.5,
            bytes_to_sites=9_300_000,
            bytes_from_sites=9_100_000,
            contributed=SITES,
            absent={},
            losses={
                site: {name: (1.5 + index) / number + 0.1 * place for index, name in enumerate(names)}
                for place, site in enumerate(SITES)
            },
        )
        for number in range(1, count + 1)
    )


@pytest.fixture
def summary() -> Summary:
    fidelity = all_pairs(18, 34)
    identity = tuple(
        IdentityError(site=site, sequence=sequence, patients=4, mae=6.5) for site in SITES for sequence in STRUCTURAL
    )
    hypotheses = tuple(
        Hypotheses(
            site=site,
            patients=4,
            core_change=8.0,
            normal_change=2.0,
            right_label_wins=3,
            compared=4,
            share=0.75,
            low=0.19,
            high=0.99,
            core_mae=24.0,
            brain_mae=12.5,
            copy_brain_mae=11.8,
        )
        for site in ("all", *SITES)
    )
    segmentation = tuple(
        Segmentation(
            site=site,
            filled=filled,
            patients=4,
            dice={"WT": 0.84 - 0.02 * bool(filled), "TC": 0.61, "ET": None},
            hd95_mm=7.9,
        )
        for site in ("all", *SITES)
        for filled in (None, *STRUCTURAL)
    )
    identification = Identification(
        ceiling=0.8,
        indeterminate={"no tumour found": 1},
        accuracy=0.7,
        decided=11,
        areas=(
            AucFacts(of="identifier", site="all", value=0.69, low=0.4, high=0.9, positives=6, negatives=6, note=""),
            AucFacts(of="latent", site="all", value=0.83, low=0.5, high=0.96, positives=6, negatives=6, note=""),
            AucFacts(of="identifier", site="hospital-a", value=None, low=None, high=None, positives=4, negatives=0,
                     note="no negative patient, so there is no AUC"),
        ),
        roc={
            "identifier": ((0.0, 0.0), (0.2, 0.45), (0.5, 0.7), (1.0, 1.0)),
            "latent": ((0.0, 0.0), (0.1, 0.6), (0.4, 0.9), (1.0, 1.0)),
        },
    )  # fmt: skip
    targets = (
        *translation_targets(fidelity, identity, small=False),
        *hypotheses_targets(hypotheses),
        *segmentation_targets(segmentation),
        *identification_targets(identification),
    )
    return Summary(
        versions=Versions(
            gliofed="0.1.0",
            code="0.1.0+0123456789ab",
            python="3.11.7",
            torch="2.13.0",
            flower="1.41.0",
            platform="x",
        ),
        study=StudyFacts(
            name="three-hospitals",
            digest="ab" * 32,
            seed=1,
            size="tiny",
            scale="tiny",
            engine="in-process",
            reference_site="hospital-a",
            release="cd" * 32,
        ),
        data=DataFacts(
            kind="synthetic phantom",
            evaluation="held-out",
            note="Phantom patients that no model saw.",
            sites=tuple(
                SiteFacts(
                    site=site,
                    training_patients=12,
                    held_out_patients=4,
                    sequences={Sequence.T1: 12, Sequence.T1GD: 7, Sequence.T2: 9, Sequence.FLAIR: 11},
                    labelled_patients=12,
                    bbb_patients=12,
                )
                for site in SITES
            ),
        ),
        targets=targets,
        stages=(
            StageFacts(
                stage=Stage.GENERATOR, parameters=1_234_567, rounds=rounds(6, ("adversarial", "cycle", "paired"))
            ),
            StageFacts(stage=Stage.SYNTHESISER, parameters=987_654, rounds=rounds(1, ("synthesis", "tumour"))),
        ),
        fidelity=fidelity,
        identity=identity,
        fill_gap=FillGap(training_mae=17.0, held_out_mae=18.5, training_patients=12, held_out_patients=12),
        hypotheses=hypotheses,
        segmentation=segmentation,
        identification=identification,
        maps=tuple(
            MapFidelity(
                target=Sequence.CBV,
                method=method,
                inputs=inputs,
                patients=12,
                brain=MapMeasure(mae=4.15, ssim=0.849, r=r),
                core=MapMeasure(mae=14.2, ssim=0.524, r=r),
                bias=-0.18,
                scatter=0.24,
            )
            for method, inputs, r in (
                ("model", (Sequence.T1, Sequence.T1GD, Sequence.ADC), 0.55),
                ("constant", (), None),
            )
        ),
        failures=(),
        cost=Cost(
            phases_s={"phantom": 31.0, "training": 401.0, "evaluation": 62.0},
            wall_s=494.0,
            peak_memory_bytes=2_100_000_000,
            peak_memory_children_bytes=400_000_000,
            processors=2,
            resumed=False,
        ),
    )


@pytest.fixture
def gallery() -> Gallery:
    h, w = np.mgrid[-1:1:64j, -1:1:80j]
    brain = h**2 / 0.5 + w**2 / 0.7 < 1
    image = np.where(brain, 0.6 * np.cos(6 * h) * np.cos(5 * w), -1)
    lesion = (h - 0.2) ** 2 + (w - 0.2) ** 2 < 0.04
    labels = np.where(lesion, 2, 0)
    crop = crop_to(brain)
    tiles = (
        grey_tile(image, crop, "given: T1"),
        grey_tile(-image * brain - 1 * ~brain, crop, "drawn", strong=True),
        grey_tile(image, crop, "true"),
        difference_tile(image * 0.8, image, brain, crop, "drawn − true"),
    )
    overlays = tuple(overlay_tile(image, labels, lesion, crop, name) for name in ("all real", "T2 filled"))
    return Gallery(
        translation=tuple(Row(site, title, tiles) for site in SITES for title in ("T1 → T2", "T2 → FLAIR")),
        hypotheses=tuple(Row(site, "barrier disrupted", (*tiles, tiles[0], tiles[1])) for site in SITES),
        segmentation=tuple(Row(site, "median patient", overlays * 3) for site in SITES),
        maps=tuple(Row(site, "median patient", tiles) for site in SITES),
    )
