"""Server-sent events (HTML standard, section 9.2): the cluster, its takeovers and its alerts.

Event ids are epochs, which come from the folder and not from one overseer: a reader that sends the last id that it
received gets each later takeover exactly once, from any overseer, also after restarts. A stream holds a place in the
history and no queue: a slow reader gets the newest document when it is ready.
"""

from bisect import bisect_right
from collections.abc import AsyncIterator, Iterator

import msgspec

from hanas_core.members.documents import Alert
from hanas_overseer.board import Board
from hanas_overseer.observer import Observation

HEARTBEAT_SECONDS = 1.0
"""A reader may take a stream that is silent for several times as long for broken."""
RETRY_MILLISECONDS = 1000
"""The time that a browser waits before it reconnects."""
_HEARTBEAT = b": heartbeat\n\n"


def epoch_of(last_event_id: str | None) -> int | None:
    """Return the epoch in a ``Last-Event-ID`` header, None if it is no number."""
    text = (last_event_id or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


async def events(board: Board, last_epoch: int | None) -> AsyncIterator[bytes]:
    """Yield events until the board is closed or interrupted.

    ``last_epoch``: takeovers after it; None: those from now on.
    """
    yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
    place = last_epoch
    number, era = 0, board.era
    reported: dict[str, Alert] = {}
    while not board.closed and board.era == era:
        published = board.published
        if published is None or published.number == number:
            await board.wait(number, HEARTBEAT_SECONDS)
            if board.published is published and not board.closed:
                yield _HEARTBEAT
            continue
        assert published.number > number
        number = published.number
        if published.observation is not None:
            place = published.observation.highest if place is None else place
            for epoch, event in _takeovers(published.observation, place):
                assert epoch > place, "ids of events only grow"
                yield event
                place = epoch
        alerts = {alert.id: alert for alert in published.cluster.alerts}
        for event in _alerts(reported, alerts):
            yield event
        reported = alerts
        yield encode("cluster", published.body, place)


def _takeovers(observation: Observation, place: int) -> Iterator[tuple[int, bytes]]:
    """Yield the epochs after ``place``; none as long as the history has not been read back to there."""
    if observation.lowest > place + 1:
        return
    start = bisect_right(observation.takeovers, place, key=lambda entry: entry.epoch)
    for entry in observation.takeovers[start:]:
        yield entry.epoch, encode("takeover", msgspec.json.encode(entry), entry.epoch)


def _alerts(reported: dict[str, Alert], present: dict[str, Alert]) -> Iterator[bytes]:
    for alert in reported.values():
        if alert.id not in present:
            yield encode("alert-cleared", msgspec.json.encode(alert))
    for alert in present.values():
        before = reported.get(alert.id)
        if before is None or (before.severity, before.kind) != (alert.severity, alert.kind):
            yield encode("alert", msgspec.json.encode(alert))


def encode(name: str, document: bytes, identity: int | None = None) -> bytes:
    """Return one event. ``document`` is JSON as msgspec writes it: one line."""
    head = f"event: {name}\n" if identity is None else f"event: {name}\nid: {identity}\n"
    return head.encode() + b"data: " + document + b"\n\n"
