"""The overseer's events (`GET /v1/events`), followed over broken connections."""

from __future__ import annotations

import asyncio
import itertools
import random
import ssl
from collections.abc import AsyncGenerator, Callable

import httpx

from hanas_client import transport
from hanas_serving.events import Event, EventParser

# An overseer sends something at least this often; a longer silence means a dead connection.
SILENCE_SECONDS = 30.0
CONNECT_SECONDS = 1.0
BACKOFF_START_SECONDS = 0.1
BACKOFF_CAP_SECONDS = 2.0


async def follow(
    overseers: tuple[str, ...],
    *,
    token: str | None = None,
    trust: ssl.SSLContext | None = None,
    last_id: str | None = None,
    on_trouble: Callable[[str], None] | None = None,
) -> AsyncGenerator[Event, None]:
    """Yield events from any of the overseers, without end: the next one resumes a broken stream.

    `trust`: what is trusted and shown over TLS; None: what all clients trust.
    `on_trouble` gets one sentence when a stream fails, once until the next event.
    """
    parser = EventParser(last_id)
    backoff = BACKOFF_START_SECONDS
    reported = False
    timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    verify = transport.trust() if trust is None else trust
    async with httpx.AsyncClient(verify=verify, trust_env=False, headers=transport.HEADERS, timeout=timeout) as http:
        for base in itertools.cycle(overseers):
            headers = {"accept": "text/event-stream"}
            if token is not None:
                headers["authorization"] = f"Bearer {token}"
            if parser.last_id is not None:
                headers["last-event-id"] = parser.last_id
            trouble = f"{base} ended the stream of events"
            parser.reset()
            try:
                async with http.stream("GET", f"{base}/v1/events", headers=headers) as response:
                    if response.status_code == 200:
                        async for chunk in response.aiter_bytes():
                            for event in parser.feed(chunk):
                                backoff, reported = BACKOFF_START_SECONDS, False
                                yield event
                    else:
                        trouble = f"{base} answered {response.status_code} to the request for events"
            except transport.FAILURES as error:
                trouble = f"{base}: {transport.failure(error).detail}"
            except ValueError as error:
                trouble = f"{base}: {error}"
            if on_trouble is not None and not reported:
                on_trouble(trouble)
            reported = True
            await asyncio.sleep(backoff * (0.5 + random.random() / 2))
            backoff = min(backoff * 2, BACKOFF_CAP_SECONDS)
