"""The lab's guard, and its choice of ports."""

import socket

import pytest

from hanas_lab import ports
from hanas_lab.faults import LabError
from hanas_lab.guard import survivors


def test_guard_ends_what_was_not_taken_back() -> None:
    assert survivors(["+1\n", "+2\n", "-1\n", "+3\n", "-3\n", "-9\n", "nonsense\n", "+x\n", "\n"]) == {2}


def test_ports_are_free_and_differ() -> None:
    taken: set[int] = set()
    chosen = [ports.choose(taken) for _ in range(5)]
    assert len(set(chosen)) == 5
    assert taken == set(chosen)
    assert ports.choose(set()) not in chosen, "one that was chosen may be that of a server which is down"
    with socket.create_server(("127.0.0.1", chosen[0])):
        assert not ports.is_free(chosen[0])
    with pytest.raises(LabError, match="is no TCP port"):
        ports.require_free(70_000, "--first-port")
