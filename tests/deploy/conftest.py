"""Where the files that are deployed lie."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def deploy():
    """The folder `deploy/`."""
    return Path(__file__).parents[2] / "deploy"
