"""A member that will not come back: people say so, and its alert ends for good."""

import pytest

from hanas_client.documents import Alert
from hanas_client.errors import HanasError, Refused
from tests.integration.cluster import HEALTHY, Cluster
from tests.integration.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_member_that_died_is_missed_until_a_person_says_that_it_is_gone(trio: Cluster) -> None:
    main = await trio.settle()
    backup = await trio.a_backup()

    async def seen() -> bool:
        members = (await trio.client.cluster()).members
        return any(member.member == backup and member.alive for member in members)

    await eventually(seen)
    with pytest.raises(Refused, match="is alive"):
        await trio.client.forget(backup)
    with pytest.raises(HanasError, match="there is no member"):
        await trio.client.forget("nobody")
    await trio.lab.kill(backup)

    async def missed() -> Alert | None:
        return await trio.alert("Unknown", about=backup)

    alert = await eventually(missed)
    assert "has been silent" in alert.message
    await trio.client.forget(backup)
    assert await trio.client.alerts() == ()
    await trio.lab.kill("overseer")
    await trio.lab.start_worker("overseer")
    assert await trio.client.alerts() == (), "the folder remembers it, not the overseer"
    await trio.lab.start_worker(backup)
    await trio.until_verdict(backup, HEALTHY)
    assert await trio.main() == main


async def test_a_main_that_failed_and_was_forgotten_raises_no_alert_at_its_successor(trio: Cluster) -> None:
    main = await trio.settle()
    await trio.lab.kill(main)

    async def failed() -> Alert | None:
        return await trio.alert("PrimaryFailed", about=main)

    alert = await eventually(failed)
    assert alert.member != main

    async def forgotten() -> bool:
        await trio.client.forget(main)
        return await trio.client.alerts() == ()

    await eventually(forgotten)
    await trio.lab.start_worker(main)
    await trio.until_verdict(main, HEALTHY)
