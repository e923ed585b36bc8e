"""A test that does not run is a failure that nobody sees: `make test` asks for all programs that the tests start."""

from __future__ import annotations

import ast
from pathlib import Path

SKIPPING = {"skip", "skipif", "importorskip", "xfail", "exit"}
MAY_SKIP = {
    "conftest.py": "the five real patients are nobody's to hand out",
    "training/test_allocator.py": "other C libraries than glibc have no such setting",
}


def test_no_test_is_skipped_for_what_can_be_installed():
    tests = Path(__file__).parents[1]
    skips = {
        path.relative_to(tests).as_posix()
        for path in tests.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("pytest.") and node.attr in SKIPPING
    }
    assert skips == set(MAY_SKIP)
