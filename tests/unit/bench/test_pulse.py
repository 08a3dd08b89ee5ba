"""Who runs and does not answer is deaf; who starts, ends or is stopped is not."""

import asyncio
from typing import Any, cast

import httpx
import pytest
from bench.faults import pulse
from bench.faults.pulse import Pulse

from hanas_lab.cluster import Lab

STATES = {"deaf": "running", "well": "running", "starting": "running", "stopped": "stopped"}


class Processes:
    """What the pulse sees of a lab."""

    @property
    def urls(self) -> dict[str, str]:
        return {name: f"http://{name}" for name in STATES}

    def status(self) -> dict[str, Any]:
        return {"workers": [{"name": name, "state": state} for name, state in STATES.items()]}


def answer(request: httpx.Request) -> httpx.Response:
    if request.url.host in {"deaf", "stopped"}:
        raise httpx.ReadTimeout("no answer")
    if request.url.host == "starting":
        raise httpx.ConnectError("refused")
    return httpx.Response(200)


async def test_only_a_running_worker_without_an_answer_is_deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "_INTERVAL_SECONDS", 0.0)
    deaf: set[str] = set()
    async with (
        asyncio.timeout(10),
        httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http,
        Pulse(cast(Lab, Processes()), http) as beat,
    ):
        for _ in range(200):
            await asyncio.sleep(0.001)
            deaf.update(beat.take()[0])
    assert deaf == {"deaf"}
