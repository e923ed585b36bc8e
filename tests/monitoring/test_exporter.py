"""One part that cannot be read takes no other with it; slow facts are read aside."""

import threading

import pytest

from common.errors import DataError
from common.monitoring.exporter import serve_figures
from common.monitoring.metric import Metric
from common.monitoring.refreshed import NotReadError, Refreshed

LEFT = Metric("gliofed_test_left_days", "Days.", ("what",))
SEEN = Metric("gliofed_test_seen_total", "Seen.")


@pytest.mark.parametrize("error", [DataError("the disk is gone"), OSError("gone"), ZeroDivisionError("a bug of ours")])
def test_figures_have_their_type_and_a_broken_part_is_named(scrape, error):
    def broken():
        yield SEEN.is_(1)
        raise error

    with serve_figures({"days": lambda: [LEFT.is_(3, "a"), LEFT.is_(4.5, "b")], "broken": broken}, 0) as port:
        found = scrape(port)
    assert found == {
        "gliofed_test_left_days": {(("what", "a"),): 3.0, (("what", "b"),): 4.5},
        "gliofed_part_read": {(("part", "days"),): 1.0, (("part", "broken"),): 0.0},
    }


def test_nothing_is_read_before_somebody_asks(scrape):
    asked = []
    with serve_figures({"one": lambda: asked.append(1) or [SEEN.is_(7)]}, 0) as port:
        assert asked == []
        assert scrape(port)["gliofed_test_seen_total"] == {(): 7.0}
    assert asked == [1]


def test_a_slow_fact_is_read_by_a_thread_and_nobody_waits_for_it(eventually):
    let_go = threading.Event()

    def slow():
        let_go.wait(5)
        return 5

    with Refreshed("slow", slow, every_s=60) as fact:
        with pytest.raises(NotReadError, match="not read yet"):
            fact.latest()
        assert fact.age_s == float("inf")
        let_go.set()
        eventually(lambda: fact.age_s < 5)
        assert fact.latest() == 5


def test_a_fact_that_cannot_be_read_any_more_is_not_told_as_it_was():
    answers = iter([1, DataError("gone"), ZeroDivisionError("a bug of ours"), 2])

    def read():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    fact = Refreshed("fact", read, every_s=60)
    fact.refresh()
    assert (fact.latest(), fact.missed) == (1, 0)
    for missed in (1, 2):
        fact.refresh()
        assert fact.missed == missed
        with pytest.raises(NotReadError, match="cannot be read"):
            fact.latest()
    fact.refresh()
    assert (fact.latest(), fact.missed) == (2, 0)
