"""How Flower's programs are called: from this installation, quietly, with a home of their own."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

LOOPBACK = "127.0.0.1"
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
"""What keeps Flower from speaking to its makers and from installing anything."""

ENTRY_POINTS = {
    "flower-superlink": "flwr.superlink.cli:flower_superlink",
    "flower-superexec": "flwr.supercore.cli:flower_superexec",
    "flower-supernode": "flwr.supernode.cli:flower_supernode",
    "flwr": "flwr.cli.app:app",
}


def flower_program(name: str) -> list[str]:
    """Return the words that start one of Flower's programs, whatever lies on the search path or in the folder."""
    module, _, function = ENTRY_POINTS[name].partition(":")
    start = f"import sys; sys.argv[0] = {name!r}; from {module} import {function} as main; sys.exit(main())"
    return [sys.executable, "-P", "-c", start]


def own_module(name: str) -> list[str]:
    """Return the words that start a module of ours, from where this one came."""
    return [sys.executable, "-P", "-m", name]


def environment(home: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a program: ours, Flower kept quiet, its home, and no proxy for this machine.

    What Flower starts by name is found in this installation first; what we start as a module in this very source.
    """
    search = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    found = {**os.environ, **QUIET, "PATH": search, "FLWR_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    root = str(Path(__file__).resolve().parents[2])
    if root not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        found["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    for name in ("NO_PROXY", "no_proxy"):
        given = os.environ.get(name, "")
        found[name] = ",".join(filter(None, [given, LOOPBACK, "localhost"]))
    return found | dict(more or {})
