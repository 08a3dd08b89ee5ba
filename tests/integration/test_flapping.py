"""A link that comes and goes is told once, and until it has been well for long. A cluster that no other test cuts."""

import pytest

from hanas_client.documents import Alert
from tests.integration.cluster import HEALTHY, Cluster
from tests.integration.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

LINK_FAILED = "LinkFailed"
CALM_SECONDS = 40.0
"""After four failures the link must be well for 8 s; more of them, on a busy machine, take 30 s at most."""


@pytest.mark.long
async def test_a_link_that_comes_and_goes_raises_one_alert_that_stays(trio: Cluster) -> None:
    main = await trio.settle()
    backup = await trio.a_backup()
    identities = set()

    async def flapping() -> Alert | None:
        alert = await trio.alert(LINK_FAILED, about=main)
        return alert if alert is not None and "it comes and goes" in alert.message else None

    async def cleared() -> bool:
        return await trio.alert(LINK_FAILED, about=main) is None

    for _ in range(3):
        trio.lab.cut(main, backup)
        await trio.until_verdict(backup, LINK_FAILED)
        trio.lab.heal(main, backup)
        await trio.until_verdict(backup, HEALTHY)
    identities.add((await eventually(flapping)).id)
    trio.lab.cut(main, backup)
    await trio.until_verdict(backup, LINK_FAILED)
    identities.add((await eventually(flapping)).id)
    trio.lab.heal(main, backup)
    await trio.until_verdict(backup, HEALTHY)
    await eventually(cleared, CALM_SECONDS)
    assert len(identities) == 1
