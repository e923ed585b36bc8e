"""One closed deployment of one site for all tests of this topic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.closed.place import Place


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The deployment, its site online; nothing is approved there."""
    from tests.closed.place import Place

    with Place(tmp_path_factory.mktemp("closed")) as made:
        yield made
