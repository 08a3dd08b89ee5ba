"""The endpoints for the kubelet and Prometheus."""

import time

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hanas_operator.metrics import OperatorMetrics
from hanas_operator.queue import Queue
from hanas_serving.gate import Gate, Gated
from hanas_serving.problems import answer_unknown

STUCK_SECONDS = 30.0
"""A queue whose loop has not run for this long is stuck, and the kubelet restarts the operator."""


def application(queue: Queue, metrics: OperatorMetrics) -> Starlette:
    """Return the application: /healthz, /readyz, /metrics."""

    async def health(_: Request) -> Response:
        age = time.monotonic() - queue.alive_at
        if age > STUCK_SECONDS:
            return Response(f"the queue has stood still for {age:.0f} s\n", 503, media_type="text/plain")
        return Response("ok\n", media_type="text/plain")

    async def report(_: Request) -> Response:
        return Response(metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    return Starlette(
        routes=[Route("/healthz", health), Route("/readyz", health), Route("/metrics", report)],
        middleware=[Middleware(Gated, Gate())],
        exception_handlers={HTTPException: answer_unknown},
    )
