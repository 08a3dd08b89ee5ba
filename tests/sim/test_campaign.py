"""A part of the campaign that is short enough for every change, and tests of the simulator itself."""

import subprocess
import sys

import pytest

from tests.sim import mutants
from tests.sim.mutants import MUTANTS, Mutant
from tests.sim.simulation import run

SEEDS = 250
SEEDS_AT_ONCE = 75
PER_TEST = 25
QUICK_SEEDS = 25
"""The quick test runs the mutants for which this number of seeds is ample."""
QUICK = (
    "acknowledgement before the sync",
    "no seals",
    "block 1 before the seals",
    "the tail beyond L is not re-logged",
    "a number is not looked up in its batch",
    "a compaction forgets the sessions",
)


LATER = (pytest.param(first, marks=pytest.mark.long) for first in range(SEEDS_AT_ONCE, SEEDS, PER_TEST))


@pytest.mark.parametrize("first", [*range(0, SEEDS_AT_ONCE, PER_TEST), *LATER])
def test_nothing_is_lost_and_nothing_is_stale(first: int) -> None:
    for seed in range(first, first + PER_TEST):
        report = run(seed)
        assert report.violation is None, f"{report.violation}\nreplay it with: make sim SEED={seed}"


@pytest.mark.long
def test_the_runs_are_eventful() -> None:
    reports = [run(seed) for seed in range(20)]
    assert sum(report.takeovers for report in reports) > 20
    assert sum(report.acknowledged for report in reports) > 200
    assert sum(report.faults.total() for report in reports) > 100


def test_a_seed_fixes_a_run_to_the_last_byte() -> None:
    traces = [
        subprocess.run(
            [sys.executable, "-m", "tests.sim.campaign", "--seed", "3"], capture_output=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert traces[0] == traces[1]
    assert len(traces[0].splitlines()) > 500


@pytest.mark.parametrize("name", QUICK)
def test_a_broken_protocol_is_caught(name: str) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    assert mutants.hunt(mutant, QUICK_SEEDS) is not None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_code_that_it_breaks(mutant: Mutant) -> None:
    with mutants.applied(mutant):
        pass
