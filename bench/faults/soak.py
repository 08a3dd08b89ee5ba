"""An hour of a lossy link: 20 % of the packets between workers are dropped, and messages delayed by up to 200 ms.

No takeover and no lost write may happen.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.faults.network import LOSS_PERCENT
from bench.faults.world import World, world

from hanas_client import events
from hanas_lab.audit import judge

JITTER_SECONDS = 0.2
_SAMPLE_SECONDS = 0.25
_KEYS_SECONDS = 20.0


async def soak(directory: Path, minutes: float, report: Path) -> dict[str, Any]:
    """Run the link for `minutes`, and write the figures to `report` (JSON), also meanwhile."""
    async with world(directory, relayed=True) as cluster:
        await cluster.clients.more(20)
        for one, other in itertools.permutations(cluster.names, 2):
            if cluster.network is not None:
                await cluster.network.lose(one, other)
        cluster.lab.jitter(JITTER_SECONDS)
        before = (await cluster.client.cluster()).epoch
        alerts: Counter[str] = Counter()
        listening = asyncio.create_task(_listen(cluster, alerts))
        verdicts: Counter[str] = Counter()
        began = changed = time.monotonic()
        figures: dict[str, Any] = {}
        while (lasted := time.monotonic() - began) < minutes * 60:
            for name in cluster.names:
                status = await cluster.status(name)
                if status is None or status["role"] != "main":
                    verdicts["no answer" if status is None else status["verdict"]] += 1
            if time.monotonic() - changed > _KEYS_SECONDS:
                cluster.clients.next_keys()
                changed = time.monotonic()
                figures = _figures(cluster, lasted, verdicts, alerts) | {
                    "takeovers": ((await cluster.client.cluster()).epoch or 0) - (before or 0)
                }
                report.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
            await asyncio.sleep(_SAMPLE_SECONDS)
        cluster.lab.jitter(0.0)
        listening.cancel()
        takeovers = ((await cluster.client.cluster()).epoch or 0) - (before or 0)
        figures = _figures(cluster, time.monotonic() - began, verdicts, alerts) | {"takeovers": takeovers}
        await cluster.clients.stop()
        verdict = judge(cluster.clients.history, await cluster.clients.last_values())
        figures |= {"lost": len(verdict.lost), "linearizable": verdict.ok, "judgement": str(verdict)}
        report.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        return figures


def _figures(cluster: World, lasted: float, verdicts: Counter[str], alerts: Counter[str]) -> dict[str, Any]:
    return {
        "seconds": round(lasted, 1),
        "loss percent": LOSS_PERCENT if cluster.network is not None else 0,
        "jitter seconds": JITTER_SECONDS,
        "verdicts of backups": dict(verdicts),
        "alert events": dict(alerts),
        "operations": len(cluster.clients.history),
        "writes acknowledged": cluster.clients.acknowledgements,
    }


async def _listen(cluster: World, alerts: Counter[str]) -> None:
    async for event in events.follow((cluster.lab.overseer_url,), token=None, on_trouble=lambda _: None):
        if event.name in {"alert", "alert-cleared"}:
            alerts[f"{event.name} {json.loads(event.data)['kind']}"] += 1
