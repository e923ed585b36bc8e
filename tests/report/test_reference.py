from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from common.sequences import Sequence
from simulations.report.reference import PAGES, models, reference_page, type_text
from simulations.report.summary import Summary

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", PAGES)
def test_the_page_in_docs_is_the_one_that_the_schema_writes(name):
    assert (REFERENCE / f"{name}.md").read_text("utf-8") == reference_page(name), "run `make docs`"


@pytest.mark.parametrize("root", [root for _, root in PAGES.values()])
def test_every_field_of_every_model_is_described(root):
    for model in models(root):
        assert model.__doc__, model
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "integer"),
        (Annotated[float, Field(ge=0)], "number"),
        (float | None, "number or null"),
        (tuple[str, ...], "list of text"),
        (tuple[float, float], "[number, number]"),
        (dict[Sequence, int], "object of integer by text"),
        (Literal["at most", "at least"], "`at most` or `at least`"),
        (Summary, "[Summary](#summary)"),
    ],
)
def test_types_are_told_in_words(annotation, text):
    assert type_text(annotation) == text
