"""No epoch serves, whoever claims: that is told once, and until one does."""

from pathlib import Path
from typing import Any

import pytest

from hanas_overseer import watcher
from tests.unit.overseer.stage import FAST, Overseer, Stage, eventually, presence, started


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_claims_without_a_main_that_serves_raise_one_alert(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "_LEADERLESS", 0.05)
    stage.register(1, 2)
    stage.show(0, presence(1))
    stage.claim(1, 1)
    async with started(Overseer(stage.folder, stage.folder_id, timing=FAST)) as overseer:

        async def told() -> bool:
            return bool(await told_alerts())

        async def told_alerts() -> list[dict[str, Any]]:
            alerts = (await overseer.get("/v1/alerts"))["alerts"]
            return [alert for alert in alerts if alert["kind"] == "TakeoverFailed"]

        stage.claim(2, 2, served=False)
        await eventually(told)
        (first,) = await told_alerts()
        assert (first["severity"], first["member"], first["about"]) == ("critical", "overseer", "worker-2")
        assert "worker-2 claimed epoch 2 but does not serve; nobody has served for" in first["message"]
        assert "hanas fsck" in first["advice"]
        made = stage.claim(3, 1, served=False)

        async def told_of_the_next() -> bool:
            (alert,) = await told_alerts()
            return "epoch 3" in alert["message"] and (alert["id"], alert["since"]) == (first["id"], first["since"])

        await eventually(told_of_the_next)
        stage.serve(made)

        async def told_no_more() -> bool:
            return not await told_alerts()

        await eventually(told_no_more)
