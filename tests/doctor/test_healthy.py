"""A hospital that lacks nothing passes every check, and one that lacks all of it still gets all its answers."""

from __future__ import annotations

from client.doctor.check import examine, exit_code
from client.doctor.finding import Mark
from client.doctor.registry import TOPICS
from tests.doctor.conftest import Hospital


def test_a_hospital_that_lacks_nothing_passes_every_check(hospital: Hospital) -> None:
    results = examine(hospital.around(), TOPICS, lambda check: None)
    assert {r.check.name: r.finding.what for r in results if r.finding.mark is not Mark.PASS} == {}
    assert len(results) >= 40
    assert exit_code(results) == 0
