"""The dependency arrows of the design, read off every import statement without running any."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = {
    "common": {"common"},
    "client": {"client", "common"},
    "server": {"server", "common"},
    "simulations": {"simulations", "client", "server", "common"},
}
FLOWER = {
    *(
        "client/app.py",
        "client/privacy/audit_message.py",
        "common/records.py",
        "common/parcel.py",
        "common/frozen_message.py",
        "simulations/grid.py",
        "simulations/federation.py",
    ),
    *("simulations/process_grid.py", "simulations/ray_engine.py"),
    "common/secure/words.py",
    *(f"client/answers/{name}.py" for name in ("assessment", "guarded", "opened", "packed_update", "question")),
    *(f"client/answers/{name}.py" for name in ("received", "secure_sum", "site_file", "task")),
    *("client/node/guard.py", "common/processes/executor.py"),
}
"""Files outside server/ that may know Flower."""

IMAGING = {"nibabel", "SimpleITK", "nilearn", "pydicom"}
PICKLE = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


@cache
def statements(path):
    """Return every import statement of a file, those inside functions too."""
    everything = ast.walk(ast.parse(path.read_text("utf-8")))
    return [node for node in everything if isinstance(node, ast.Import | ast.ImportFrom)]


def imports(path):
    """Yield the line and dotted name of every import in a file."""
    for node in statements(path):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif node.level == 0:
            yield node.lineno, node.module or ""


def top(name):
    return name.partition(".")[0]


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_the_design_allows(package):
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sources(package)
        for line, name in imports(path)
        if top(name) in set(ALLOWED) - ALLOWED[package]
    ]
    assert not wrong, "\n".join(wrong)


def test_no_import_is_relative():
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in ALLOWED
        for path in sources(package)
        for node in statements(path)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not wrong, "\n".join(wrong)


def test_the_coordinator_and_the_shared_code_cannot_open_a_scan():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for package in ("common", "server")
        for path in sources(package)
        for line, name in imports(path)
        if top(name) in IMAGING
    ]
    assert not wrong, "\n".join(wrong)


def test_flower_is_known_at_the_edges_only():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for package in ("common", "client", "simulations")
        for path in sources(package)
        for line, name in imports(path)
        if top(name) == "flwr" and path.relative_to(ROOT).as_posix() not in FLOWER
    ]
    assert not wrong, "\n".join(wrong)


def test_nothing_is_pickled():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for package in ALLOWED
        for path in sources(package)
        for line, name in imports(path)
        if top(name) in PICKLE
    ]
    calls = [
        f"{path.relative_to(ROOT)}:{number}"
        for package in ALLOWED
        for path in sources(package)
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if "torch.load(" in line or "torch.save(" in line
    ]
    assert not wrong + calls, "\n".join(wrong + calls)


def test_no_chain_of_module_level_imports_comes_back_to_its_beginning():
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in ALLOWED
        for path in sources(package)
    }
    graph = {name: {target for target in _module_level(path, names) if target != name} for name, path in names.items()}
    finished = set()

    def visit(name, chain):
        assert name not in chain, " → ".join([*chain[chain.index(name) :], name])
        if name not in finished:
            for target in sorted(graph[name]):
                visit(target, [*chain, name])
            finished.add(name)

    for name in graph:
        visit(name, [])


def _module_level(path, names):
    """Return the modules of ours that a file imports when it is itself imported."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {full if (full := f"{node.module}.{alias.name}") in names else node.module for alias in node.names}
    return found & set(names)
