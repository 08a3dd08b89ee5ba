"""Attacks on real clusters: hostile or careless clients, broken folders, too little of everything.

Each attack starts what it breaks. Those that need more than Python (root, loop devices) are skipped without it; with
HANAS_ATTACKS_REQUIRED=1 (`make test-attacks` sets it) nothing is skipped.
"""

import os

import pytest


@pytest.fixture
def root() -> None:
    """Let a test run that mounts volumes or changes their owners."""
    if os.geteuid() == 0:
        return
    if os.environ.get("HANAS_ATTACKS_REQUIRED"):
        pytest.fail("this attack needs root")
    pytest.skip("this attack needs root")
