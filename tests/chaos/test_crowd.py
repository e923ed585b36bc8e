"""The coordinator's memory does not grow with the number of sites, and its time grows no faster than they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.plan import Plan
from simulations.chaos.arithmetic import open_cached
from simulations.chaos.crowd import OWNERS, crowd_study, measure, write_crowd


@pytest.mark.parametrize("sites", [OWNERS, 2 * OWNERS])
def test_the_crowd_s_model_has_the_same_domains_whatever_its_size(tmp_path: Path, sites: int) -> None:
    study = crowd_study(sites)
    files = write_crowd(study, tmp_path)
    inventory = tuple(open_cached(files[site], study).inventory for site in study.sites)
    domains = Plan(study_digest=study.digest, inventory=inventory).domains(study)
    images = {domain.key for domain in domains if not domain.lesion}
    assert images == {f"{site}:T1" for site in study.sites[:OWNERS]}
    assert {domain.key for domain in domains if domain.lesion} == {
        domain.twin.key for domain in domains if not domain.lesion
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_from_ten_to_two_hundred_sites_memory_is_flat_and_time_linear(tmp_path: Path) -> None:
    few, many = measure(10, tmp_path / "few"), measure(200, tmp_path / "many")
    assert many.update_mb == pytest.approx(few.update_mb, rel=0.01)
    assert many.peak_mb < 1.1 * few.peak_mb
    assert many.seconds / many.sites < 1.5 * few.seconds / few.sites
