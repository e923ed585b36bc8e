"""The hospitals of a simulated consortium: their site.toml, their prepared cases, and what is evaluated at each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from client.config import load_site
from client.data.cache import CachedCase
from client.data.catalog import scan_folder
from client.data.preprocessing import PrepareSettings, prepare_cases
from client.site import Site, open_site
from common.errors import StudyError
from common.study import Study
from simulations.comparison.subject import Subject
from simulations.federation import site_file

Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Consortium:
    """The opened sites of a study.

    Attributes:
        sites: by name, in the study's order.
        held_out: whether some site held patients out, so that those are evaluated; else all are, by resubstitution.
    """

    sites: Mapping[str, Site]

    @property
    def held_out(self) -> bool:
        """Whether patients were held out anywhere."""
        return any(site.held_out.cases for site in self.sites.values())

    def evaluated(self, name: str) -> tuple[CachedCase, ...]:
        """Return the cases of a site that are completed and measured."""
        site = self.sites[name]
        return site.held_out.cases if self.held_out else site.training.cases

    def training(self) -> dict[str, list[Subject]]:
        """Return each site's training cases, as the hospital has them."""
        return {name: [Subject(name, case, case) for case in site.training.cases] for name, site in self.sites.items()}


def write_site_files(study: Study, folder: Path, workdirs: Path) -> dict[str, Path]:
    """Return a site.toml for each site of the study: `<folder>/<site>.toml`, or one written for `<folder>/<site>/`.

    Raises:
        StudyError: where a site has neither; all of them are named.
    """
    places = {site: folder / f"{site}.toml" for site in study.sites}
    places = {site: path if path.is_file() else folder / site for site, path in places.items()}
    missing = [site for site, path in places.items() if not path.exists()]
    if missing:
        raise StudyError(
            f"{folder}: nothing for {', '.join(missing)}; the study names {', '.join(study.sites)}, "
            "so the folder must hold <site>/ with scans, or <site>.toml, for each"
        )
    return {site: site_file(site, path, workdirs, study) for site, path in places.items()}


def prepare_sites(files: Mapping[str, Path], study: Study, workers: int, advance: Advance) -> list[str]:
    """Prepare every site's cases on all processors, which training would otherwise do one by one.

    Returns:
        What could not be prepared, as `site: case: reason`.
    """
    configs = {name: load_site(path) for name, path in files.items()}
    cases = {name: list(scan_folder(config.folder, config).cases) for name, config in configs.items()}
    total, done = sum(map(len, cases.values())), 0
    failures: list[str] = []
    for name, config in configs.items():
        settings, cache = PrepareSettings.of(study), config.workdir / "cache"
        listen = partial(advance_from, done, total, advance)
        outcome = prepare_cases(cases[name], settings, cache, workers=workers, on_case=listen)
        done += len(cases[name])
        failures += [f"{name}: {case}: not prepared: {reason}" for case, reason in sorted(outcome.failures.items())]
    return failures


def advance_from(before: int, total: int, advance: Advance, done: int, _: int) -> None:
    """Tell `advance` what one of several sites has done, the steps `before` it included."""
    advance(before + done, total)


def open_consortium(files: Mapping[str, Path], study: Study) -> Consortium:
    """Open every site as its hospital would."""
    return Consortium({name: open_site(load_site(path), study) for name, path in files.items()})
