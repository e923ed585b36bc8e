"""The reference pages of `summary.json` and `bench.json`, written from their models: page and schema cannot part.

`python -m simulations.report.reference summary > docs/reference/summary.md` writes one anew.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Iterator

from pydantic import BaseModel

from simulations.bench.report import BenchReport
from simulations.report.summary import Summary

SUMMARY = """# `summary.json`

Written by `gliofed-sim run` beside `report.html`: what ran, what was asked for, what was measured and what was missed.
The schema is versioned; a field of another meaning will raise `schema_version`. `null` means that nothing could be
measured, never that all is well. Errors are in grey levels of 0 … 255 inside the brain unless a field says otherwise.
This page is written from the models in `simulations/report/summary.py` (`make docs`).
"""

BENCH = """# `bench.json`

Written by `gliofed-sim bench --out`: what each model costs, in our form and in the plain one, on which machine and how
loaded it was. The schema is versioned. This page is written from the models in `simulations/bench/report.py` (`make
docs`).
"""

PAGES: dict[str, tuple[str, type[BaseModel]]] = {"summary": (SUMMARY, Summary), "bench": (BENCH, BenchReport)}


def reference_page(name: str) -> str:
    """Return the page `name` of `PAGES` as Markdown."""
    introduction, root = PAGES[name]
    parts = [introduction]
    for model in models(root):
        about = (model.__doc__ or "").strip().split("\n")[0]
        parts.append(f"\n## {model.__name__}\n\n{about}\n\n| field | type | meaning |\n|---|---|---|\n")
        parts += [
            f"| `{name}` | {type_text(field.annotation)} | {field.description} |\n"
            for name, field in model.model_fields.items()
        ]
    return "".join(parts)


def models(root: type[BaseModel]) -> list[type[BaseModel]]:
    """Return `root` and every model that it holds, in the order in which they are met."""
    found = [root]
    for model in found:
        for field in model.model_fields.values():
            found += [inner for inner in _models_in(field.annotation) if inner not in found]
    return found


def type_text(annotation: object) -> str:
    """Return a type in a reader's words, such as `list of PairFidelity` or `number or null`."""
    plain = {str: "text", int: "integer", float: "number", bool: "true or false", type(None): "null"}
    if isinstance(annotation, type) and not typing.get_args(annotation):
        if annotation in plain:
            return plain[annotation]
        link = f"[{annotation.__name__}](#{annotation.__name__.lower()})"
        return link if issubclass(annotation, BaseModel) else "text"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return type_text(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        many = arguments[-1] is Ellipsis
        return f"list of {type_text(arguments[0])}" if many else f"[{', '.join(map(type_text, arguments))}]"
    if origin is dict:
        return f"object of {type_text(arguments[1])} by {type_text(arguments[0])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_text(argument) for argument in arguments)
    raise TypeError(f"no words for {annotation}")


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not typing.get_args(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)


if __name__ == "__main__":
    sys.stdout.write(reference_page(sys.argv[1]))
