"""`hanas bench` on a running cluster, while its main is killed."""

import asyncio
import json

import pytest

from hanas_client import cli
from tests.integration.cluster import Cluster
from tests.integration.waiting import PATIENCE_SECONDS, eventually, within

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

KEYS = 50
SECONDS = 8
PREFIX = "hanas-bench/"


@pytest.mark.long
async def test_a_main_that_is_killed_shows_as_a_gap_and_a_new_epoch(
    trio: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    main = await trio.settle()
    epoch = await trio.epoch()
    await trio.client.put("other", b"somebody's")
    options = ["--overseer", trio.lab.overseer_url, "--json", "--duration", str(SECONDS), "--keys", str(KEYS)]
    benching = asyncio.create_task(asyncio.to_thread(cli.main, ["bench", "--connections", "4", *options]))

    async def measures() -> bool:
        """All keys are there, and one has been written once more."""
        entries = [entry async for entry in trio.client.list(PREFIX)]
        sequences = [int(entry.version.partition("-")[2]) for entry in entries]
        return len(entries) == KEYS and max(sequences) - min(sequences) >= KEYS

    await eventually(measures)
    await trio.lab.kill(main)
    assert await within(SECONDS + PATIENCE_SECONDS, benching) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["epochBefore"] == epoch
    assert report["epochAfter"] > epoch
    figures = report["operations"]
    assert (figures["all"]["errors"], figures["all"]["unknown"], report["troubles"]) == (0, 0, {})
    assert figures["get"]["requests"] > figures["put"]["requests"] > 0
    assert figures["all"]["requests"] == figures["get"]["requests"] + figures["put"]["requests"]
    # Somebody waited for the new main, and nobody was answered meanwhile.
    assert 0.1 < report["longestGapSeconds"] <= figures["all"]["milliseconds"]["max"] / 1000 + 0.5
    assert 0 < report["longestGapAfterSeconds"] < report["seconds"]
    assert [entry.key async for entry in trio.client.list()] == ["other"]
