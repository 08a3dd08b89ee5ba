"""A value whose segment was removed is looked for where it is now; a newer one is never given out in its place."""

import asyncio

import pytest

from hanas_core.log.batches import Batch
from hanas_serving.runtime import Runtime
from hanas_worker.host import settings
from hanas_worker.host.duties import Duty
from hanas_worker.host.host import Host
from hanas_worker.log.state import LogState
from hanas_worker.log.values import Moved, Values
from tests.unit.core.scenery import FOLDER_ID, bare_folder, put_payload


def state_of_a_key() -> LogState:
    state = LogState(Host(settings.read({"WORKER_ID": "a"}), bare_folder(), FOLDER_ID, Runtime()))
    state.replica.index.apply(Batch(1, 1, 1, put_payload("key", b"v1"), epoch=1, number=1))
    return state


async def test_a_value_that_was_written_over_while_its_place_was_looked_for_is_asked_for_again() -> None:
    state = state_of_a_key()
    index = state.replica.index
    entry = index.get(b"key")
    assert entry is not None
    # Its segment is gone, and the index does not know yet where its value is now: the read waits to be told.
    places = state.wakers[Duty.PLACES]
    reading = asyncio.create_task(Values(state).read(b"key", entry, (0, 2)))
    await places.wait()
    index.apply(Batch(1, 2, 1, put_payload("key", b"v20"), epoch=1, number=2))
    with pytest.raises(Moved):
        await reading


async def test_an_index_that_was_made_anew_meanwhile_is_asked_again() -> None:
    state = state_of_a_key()
    entry = state.replica.index.get(b"key")
    assert entry is not None
    places = state.wakers[Duty.PLACES]
    reading = asyncio.create_task(Values(state).read(b"key", entry, (0, 2)))
    await places.wait()
    state.replica.forget()
    with pytest.raises(Moved):
        await reading
