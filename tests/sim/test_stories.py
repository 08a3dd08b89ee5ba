"""Each story is run on the code as it is, and on its mutant."""

import pytest

from tests.sim import mutants
from tests.sim.mutants import MUTANTS
from tests.sim.stories import STORIES, play


@pytest.mark.parametrize("name", STORIES)
def test_a_story_ends_well(name: str) -> None:
    assert play(name) is None


@pytest.mark.parametrize("name", STORIES)
def test_a_story_ends_badly_where_the_bug_is_back(name: str) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == STORIES[name][3])
    with mutants.applied(mutant):
        assert play(name) is not None
