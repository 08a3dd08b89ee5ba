"""A takeover borrows the replica: what the event loop shows meanwhile, and what it has afterwards."""

import asyncio
import threading

import pytest

from hanas_core.state.replica import Replica
from hanas_core.volume.errors import FolderUnavailable
from hanas_serving.lanes import Hung
from tests.unit.worker.test_values import state_of_a_key


async def test_a_borrowed_replica_comes_back_with_the_result() -> None:
    state = state_of_a_key()
    before = state.standing
    replica = state.replica

    async def borrow(lent: Replica) -> str:
        assert (state.index, state.standing) == (None, before)
        lent.forget()
        assert state.standing == before, "what was last known of it"
        return "done"

    async with state.replica_lock:
        assert await state.lend(borrow, 10.0) == "done"
    assert state.replica is replica
    assert state.index is replica.index
    assert state.standing.keys == 0


async def test_a_borrowed_replica_comes_back_with_an_error() -> None:
    state = state_of_a_key()
    replica = state.replica

    async def fail(_: Replica) -> None:
        raise FolderUnavailable("no answer")

    async with state.replica_lock:
        with pytest.raises(FolderUnavailable):
            await state.lend(fail, 10.0)
    assert state.replica is replica
    assert state.standing.keys == 1


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_borrower_that_is_given_up_keeps_the_replica(cancelled: bool) -> None:
    state = state_of_a_key()
    replica, release, begun = state.replica, threading.Event(), threading.Event()

    async def hang(_: Replica) -> None:
        begun.set()
        release.wait()

    async with state.replica_lock:
        lending = asyncio.create_task(state.lend(hang, 10.0 if cancelled else 0.01))
        if cancelled:
            await asyncio.to_thread(begun.wait)
            lending.cancel()
        with pytest.raises((Hung, asyncio.CancelledError)):
            await lending
    assert state.replica is not replica
    assert (state.index, state.standing.keys) == (state.replica.index, 0)
    release.set()
