"""What the kubelet is told of the operator."""

import asyncio
import logging
import time

import httpx
import pytest

from hanas_operator import handlers, health
from hanas_operator.metrics import OperatorMetrics
from hanas_operator.queue import Queue


async def test_a_queue_that_stands_still_is_told() -> None:
    queue = Queue()
    transport = httpx.ASGITransport(health.application(queue, OperatorMetrics()))
    async with httpx.AsyncClient(transport=transport, base_url="http://operator") as client:
        assert (await client.get("/healthz")).headers["x-content-type-options"] == "nosniff"
        for answer, status in ((await client.post("/healthz"), 405), (await client.get("/<script>"), 404)):
            assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        queue.alive_at = time.monotonic() - 31
        assert (await client.get("/healthz")).status_code == 503
        assert "stood still for 31 s" in (await client.get("/readyz")).text


async def test_a_queue_without_work_lives() -> None:
    async def nothing(_: object) -> None:
        return None

    queue = Queue()
    queue.alive_at = 0.0
    task = asyncio.create_task(queue.run(nothing))
    await asyncio.sleep(0.05)
    assert time.monotonic() - queue.alive_at < 1.0
    task.cancel()


def test_kopf_speaks_in_single_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logger, root = logging.getLogger("kopf"), logging.getLogger()
    handler = logging.StreamHandler()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        handlers.quieten()
        logging.getLogger("kopf.x").info("chatter")
        try:
            raise ValueError("deep inside")
        except ValueError:
            logging.getLogger("kopf.x").exception("a watch has failed")
            logging.getLogger("hanas_operator").exception("a bug")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        logger.setLevel(logging.NOTSET)
    written = capsys.readouterr().err
    assert "chatter" not in written
    assert written.index("a watch has failed") < written.index("a bug") < written.index("Traceback")
