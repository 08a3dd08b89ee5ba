"""Small clusters, every order: the protocol holds in all of them, and a broken one is found."""

import pytest

from tests.sim.explore import Configuration, Found, adoption, explore, forwarding, takeover, watching
from tests.sim.mutants import MUTANTS, applied

COMMIT_AGAINST_TAKEOVER = Configuration(
    "a commit against a takeover", lambda: takeover(writes=1, rivals=1, crashes=0, write_backs=1)
)
ADOPTION_AND_CRASH = Configuration(
    "an adopted claim and a crash", lambda: adoption(writes=0, looks=1, crashes=1, write_backs=0)
)
TAKEOVER_AND_CRASH = Configuration(
    "a takeover and a crash", lambda: takeover(writes=0, rivals=1, crashes=1, write_backs=0)
)
FORWARDED_WRITE = Configuration(
    "a forwarded write against a takeover", lambda: forwarding(rivals=1, crashes=0, write_backs=0)
)
WATCH = Configuration("a watch against a takeover", lambda: watching(crashes=0))


def test_a_commit_against_a_takeover_in_every_order() -> None:
    explored = explore(COMMIT_AGAINST_TAKEOVER)
    assert explored.complete
    assert explored.states > 500


def test_an_adopted_claim_and_a_crash_in_every_order() -> None:
    assert explore(ADOPTION_AND_CRASH).complete


def test_a_forwarded_write_that_is_repeated_at_the_next_main_in_every_order() -> None:
    explored = explore(FORWARDED_WRITE)
    assert explored.complete
    assert explored.states > 200


def test_a_backup_tells_watchers_nothing_that_may_vanish_in_any_order() -> None:
    assert explore(WATCH).complete


@pytest.mark.parametrize(
    ("mutant", "configuration"),
    [
        ("no seal check", COMMIT_AGAINST_TAKEOVER),
        ("a check that began before the sync returned", COMMIT_AGAINST_TAKEOVER),
        ("no seals", COMMIT_AGAINST_TAKEOVER),
        ("block 1 before the seals", COMMIT_AGAINST_TAKEOVER),
        ("a manifest that is not read back", TAKEOVER_AND_CRASH),
        ("a forwarded put is logged without its number", FORWARDED_WRITE),
        ("a warm copy fed beyond the commit position", WATCH),
    ],
)
def test_a_broken_protocol_is_found_in_some_order(mutant: str, configuration: Configuration) -> None:
    with applied(next(known for known in MUTANTS if known.name == mutant)), pytest.raises(Found) as found:
        explore(configuration, 20_000)
    assert "link claims/0000000002" in str(found.value)
