"""gRPC health says SERVING only while every check does; the probe turns that into an exit status."""

import socket
import subprocess
import sys

import pytest

from common.errors import StudyError
from common.health_probe import probe
from common.monitoring.exporter import serve_figures
from common.monitoring.health import serve_health
from simulations.deployment.deployment import free_port


def test_the_whole_serves_while_every_part_does(eventually):
    well = {"server": True, "supernode": True}
    with serve_health({name: lambda name=name: well[name] for name in well}, 0) as port:
        address = f"127.0.0.1:{port}"
        assert [probe(address, name) for name in ("", "server", "supernode")] == ["SERVING"] * 3
        assert probe(address, "stranger") == "NOT_FOUND"
        well["server"] = False
        eventually(lambda: probe(address) == "NOT_SERVING")
        assert [probe(address, name) for name in ("server", "supernode")] == ["NOT_SERVING", "SERVING"]
        well["server"] = True
        eventually(lambda: probe(address) == "SERVING")
    assert probe(address, patience_s=1.0) in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


def test_a_check_that_breaks_is_not_well_and_stops_no_other(eventually):
    well = {"a": True}

    def breaks():
        return 1 / well["a"] > 0

    with serve_health({"a": breaks, "b": lambda: True}, 0) as port:
        address = f"127.0.0.1:{port}"
        assert probe(address) == "SERVING"
        well["a"] = 0
        eventually(lambda: probe(address, "a") == "NOT_SERVING")
        assert probe(address, "b") == "SERVING"
        well["a"] = 1
        eventually(lambda: probe(address) == "SERVING")


@pytest.mark.parametrize("serve", [serve_figures, serve_health])
def test_a_taken_port_is_said_in_words(serve):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StudyError, match="choose another port"), serve({}, taken.getsockname()[1]):
            pass


def test_both_listen_on_the_loopback_address_alone():
    port = free_port()
    with serve_figures({}, port), serve_health({}, 0) as health:
        for each in (port, health):
            with socket.socket() as other:
                assert other.connect_ex(("127.0.0.2", each)) != 0


def test_the_probe_is_a_program_with_an_exit_status(repository):
    def run(*arguments):
        command = [sys.executable, "-m", "common.health_probe", *arguments]
        return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)

    with serve_health({"server": lambda: True}, 0) as port:
        done = run(f"127.0.0.1:{port}")
    assert (done.returncode, done.stdout) == (0, "SERVING\n")
    with serve_health({"server": lambda: False}, 0) as port:
        done = run(f"127.0.0.1:{port}", "server")
    assert (done.returncode, done.stdout) == (1, "NOT_SERVING\n")
    assert run().returncode == 2
