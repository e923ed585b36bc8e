"""One maps model for every subset of its inputs against models of a single subset each, on the same phantoms.

`python -m simulations.subset_study simulations/scenarios/cbv.toml --out DIR` trains all of them, each through the whole
federation and for equally many steps, measures them on the same held-out patients against the phantoms' truth, and
prints the tables of docs/evidence/cbv.md. What is in DIR already is not made again.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from collections.abc import Sequence as Items
from pathlib import Path

from client.data.preprocessing import PrepareSettings
from common.console import print_line
from common.errors import DataError, StudyError
from common.nets.map_synthesiser import MapSynthesiser
from common.release import Release, load_release
from common.sequences import Sequence
from common.settings.stages import MapsStage, Stage
from common.study import Study, load_study
from simulations.baselines import fit_baselines
from simulations.cohort import cohort_of, draw_phantoms
from simulations.comparison.map_tables import Contest, contest_table, subset_table
from simulations.comparison.maps import Subset, compare_maps, measure_subset
from simulations.comparison.subject import Subject
from simulations.consortium import open_consortium, prepare_sites, write_site_files
from simulations.evaluated import find_subjects
from simulations.federation import run_federation
from simulations.scale import SCALES

T1, T1GD, T2, FLAIR, ADC = Sequence.T1, Sequence.T1GD, Sequence.T2, Sequence.FLAIR, Sequence.ADC
SINGLE: tuple[Subset, ...] = ((T1, T1GD, ADC), (T1, T2, FLAIR), (T1, T2, T1GD, FLAIR, ADC))
"""The paper's best subset, the one that needs neither gadolinium nor diffusion, and all."""


def run_subset_study(path: Path, out: Path) -> str:
    """Draw the phantoms, train, measure, and return the tables as Markdown.

    Raises:
        StudyError: where the study has no fitting maps stage, or no cohort stands beside it.
        DataError: where a phantom cannot be prepared.
    """
    study = load_study(path)
    settings = study.stages.maps
    if settings is None or settings.subsets != "any" or not set(SINGLE[-1]) <= set(settings.inputs):
        raise StudyError(f"{path}: needs [stages.maps] of any subset, with {', '.join(SINGLE[-1])} among its inputs")
    truth = draw_phantoms(out / "phantom", cohort_of(path, study, SCALES["tiny"], None), study.seed, 1, _silent)
    files = write_site_files(study, out / "phantom" / "sites", out / "sites")
    failures = prepare_sites(files, study, 1, _silent)
    consortium, prepare = open_consortium(files, study), PrepareSettings.of(study)
    subjects = find_subjects(consortium, truth, study.sequences, prepare, out / "truth-cache", 1, failures)
    if failures:
        raise DataError("\n".join(failures))
    general = train(study, files, out / "any")
    contests = [hold(study, settings, subset, general, files, subjects, out) for subset in SINGLE]
    everyone = (one.own for patients in consortium.training().values() for one in patients)
    fitted = fit_baselines(everyone, (*settings.inputs, settings.target))
    rows = compare_maps(subjects, model_of(general), settings, fitted, lambda: None)
    return f"{contest_table(contests)}\n{subset_table(rows)}"


def hold(
    study: Study,
    settings: MapsStage,
    subset: Subset,
    general: Release,
    files: Mapping[str, Path],
    subjects: Items[Subject],
    out: Path,
) -> Contest:
    """Train a model of `subset` alone, on the cases that hold all of it, and measure it beside the general one."""
    only = settings.model_copy(update={"inputs": subset, "subsets": "all-inputs"})
    single = train(
        study.model_copy(update={"stages": study.stages.model_copy(update={"maps": only})}),
        files,
        out / "-".join(subset).lower(),
    )
    return Contest(
        subset=subset,
        single=measure_subset(subjects, model_of(single), only, subset),
        general=measure_subset(subjects, model_of(general), settings, subset),
        taught_single=taught(single),
        taught_general=taught(general),
    )


def train(study: Study, files: Mapping[str, Path], out: Path) -> Release:
    """Run the study's federation into `out`, or find it finished there."""
    if not (out / "release" / "release.json").is_file():
        run_federation(study, files, out, resume=(out / "plan.json").is_file()).require_complete()
    return load_release(out / "release")


def model_of(release: Release) -> MapSynthesiser:
    """Return the released maps model. Raises StudyError where there is none."""
    model = release.model(Stage.MAPS).eval()
    if not isinstance(model, MapSynthesiser):
        raise StudyError(f"{release.path}: holds no maps model")
    return model


def taught(release: Release) -> int:
    """Return the number of patients that the maps model was trained on."""
    return sum(release.manifest.stages[Stage.MAPS].lineage.sites.values())


def _silent(done: int, total: int) -> None:
    """Hear of progress and say nothing."""


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m simulations.subset_study", description=__doc__)
    parser.add_argument("study", type=Path, help="a study with [stages.maps], its cohort beside it")
    parser.add_argument("--out", type=Path, required=True, help="folder for phantoms, runs and caches")
    given = parser.parse_args()
    print_line(run_subset_study(given.study, given.out))


if __name__ == "__main__":
    main()
