"""The overseer's events (`GET /v1/events`): parsing of the stream, sans-IO, and following it for ever.

The format is that of server-sent events in the HTML standard, section 9.2.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field

import httpx

from hanas_client import transport

# An overseer sends something at least that often; silence for longer means that the connection is dead.
SILENCE_SECONDS = 30.0
CONNECT_SECONDS = 1.0
BACKOFF_START_SECONDS = 0.1
BACKOFF_CAP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name (`cluster`, `takeover`, `alert`, `alert-cleared`), its id and its JSON document."""

    name: str
    data: str
    id: str | None = None


@dataclass(slots=True)
class EventParser:
    """Events from lines (without their ends). `last_id` is what a new connection resumes after."""

    last_id: str | None = None
    _name: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, line: str) -> Event | None:
        """The event that this line completes, if it does."""
        if not line:
            return self._complete()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._name = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self.last_id = value
            case _:  # a comment, or a field that means nothing here
                pass
        return None

    def reset(self) -> None:
        """Forget the event begun: the connection broke within it."""
        self._name, self._data = "", []

    def _complete(self) -> Event | None:
        event = Event(self._name or "message", "\n".join(self._data), self.last_id) if self._data else None
        self.reset()
        return event


async def follow(
    overseers: tuple[str, ...],
    *,
    token: str | None = None,
    last_id: str | None = None,
    on_trouble: Callable[[str], None] | None = None,
) -> AsyncGenerator[Event, None]:
    """Events from any of the overseers, without end: a broken stream is resumed at the next one.

    `on_trouble` gets one sentence when the stream was lost or could not be opened, once until it works again.
    """
    parser = EventParser(last_id)
    backoff = BACKOFF_START_SECONDS
    troubled = False
    timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
    async with httpx.AsyncClient(trust_env=False, headers=transport.HEADERS, timeout=timeout) as http:
        for base in _for_ever(overseers):
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
                        async for line in response.aiter_lines():
                            event = parser.feed(line)
                            if event is not None:
                                backoff, troubled = BACKOFF_START_SECONDS, False
                                yield event
                    else:
                        trouble = f"{base} answered {response.status_code} when asked for events"
            except transport.FAILURES as error:
                trouble = f"{base}: {transport.failure(error).detail}"
            if on_trouble is not None and not troubled:
                on_trouble(trouble)
            troubled = True
            await asyncio.sleep(backoff * (0.5 + random.random() / 2))
            backoff = min(backoff * 2, BACKOFF_CAP_SECONDS)


def _for_ever(overseers: tuple[str, ...]) -> Iterator[str]:
    while True:
        yield from overseers
