"""HTTP to other processes: whom it goes to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from hanas_serving.answers import Answer, send_answer
from hanas_serving.server import HttpEndpoint, bind
from hanas_worker.neighbours.outbound import HttpOutbound


@asynccontextmanager
async def answering(app: ASGIApp) -> AsyncIterator[str]:
    bound = bind(0, "a test")
    endpoint = HttpEndpoint(app, bound)
    await endpoint.start()
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        await endpoint.stop()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_the_secret_and_what_is_said_follow_no_redirect(status: int) -> None:
    asked: list[Scope] = []

    async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        asked.append(scope)
        await send_answer(Answer(204, b""), send, bodiless=True)

    async with answering(elsewhere) as target:

        async def redirecting(scope: Scope, receive: Receive, send: Send) -> None:
            del scope, receive
            await send_answer(Answer(status, f"location: {target}/v1/claim\r\n".encode()), send, bodiless=False)

        async with answering(redirecting) as url:
            outbound = HttpOutbound("one", ("secret",))
            answered, _ = await outbound.post(f"{url}/v1/claim", b"{}", 10.0)
            await outbound.close()
    assert (answered, asked) == (status, [])
