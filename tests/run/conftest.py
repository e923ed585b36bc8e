import pytest

from common.study import parse_study

STUDY = """
name = "toy"
sites = ["hospital-a", "hospital-b"]
reference_site = "hospital-a"
[stages.generator]
rounds = 3
local_steps = 10
[stages.synthesiser]
rounds = 2
local_steps = 5
"""


@pytest.fixture
def study():
    return parse_study(STUDY)
