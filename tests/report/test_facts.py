import time

from simulations.report.facts import Stopwatch, round_facts, versions

RECORD = {
    "stage": "generator",
    "round": 2,
    "seconds": 12.5,
    "sites": {
        "a": {
            "code": "ok",
            "metrics": {"training.cycle": 0.5, "training.style": float("nan")},
            "bytes_down": 10,
            "bytes_up": 7,
        },
        "b": {"code": "data", "bytes_down": 10, "bytes_up": 0},
    },
}


def test_a_round_tells_who_counted_who_did_not_and_what_travelled():
    found = round_facts(RECORD)
    assert (found.contributed, found.absent) == (("a",), {"b": "data"})
    assert (found.bytes_to_sites, found.bytes_from_sites) == (20, 7)
    assert [(found.traffic[site].received_bytes, found.traffic[site].sent_bytes) for site in "ab"] == [(10, 7), (10, 0)]


def test_a_loss_that_is_not_finite_is_left_out():
    assert round_facts(RECORD).losses == {"a": {"training.cycle": 0.5}}


def test_phases_add_up_under_their_names():
    watch = Stopwatch()
    for _ in range(2):
        with watch.phase("training"):
            time.sleep(0.01)
    with watch.phase("evaluation"):
        pass
    cost = watch.cost(resumed=True)
    assert list(cost.phases_s) == ["training", "evaluation"]
    assert 0.02 <= cost.phases_s["training"] <= cost.wall_s + 0.01
    assert cost.resumed


def test_memory_is_in_bytes():
    assert 20_000_000 < Stopwatch().cost(resumed=False).peak_memory_bytes < 100_000_000_000


def test_versions_name_what_runs():
    found = versions()
    assert found.code.startswith(found.gliofed)
    assert found.flower.startswith("1.41")
