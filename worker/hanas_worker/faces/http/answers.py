"""How a list and each refusal of the store look in HTTP: statuses, headers and documents."""

import asyncio
from typing import Protocol

import msgspec

from hanas_core.state.keyspace import KeyPage
from hanas_serving.answers import INERT, Answer
from hanas_serving.problems import Problem
from hanas_worker import store

TRY_AGAIN = {"retry-after": "1"}


_PIECE_CHARS = 32 << 10
"""So much of keys is written into a list without a break."""


class Reply(Protocol):
    """Where an answer goes."""

    path: bytes
    """The path that was asked for, not decoded, and its query."""

    def answer(self, answer: Answer) -> None:
        """Answer the request; at most once."""

    def fail(self, error: BaseException) -> None:
        """Answer that this program made a mistake."""


class Listed(msgspec.Struct, frozen=True):
    """A key in a list."""

    key: str
    version: str
    size: int


class Page(msgspec.Struct, frozen=True):
    """Body of a list."""

    keys: list[Listed]
    next: str | None


async def of_page(page: KeyPage, epoch: int) -> Answer:
    """Return the answer with a page of the list of keys, made in pieces: others have their turns between them."""
    parts, keys, size = [], [], 0
    for key, entry in page.entries:
        keys.append(Listed(key, str(entry.version), entry.size))
        size += len(key)
        if size > _PIECE_CHARS:
            parts.append(msgspec.json.encode(keys)[1:-1])
            keys, size = [], 0
            await asyncio.sleep(0)
    if keys:
        parts.append(msgspec.json.encode(keys)[1:-1])
    body = b'{"keys":[%b],"next":%b}' % (b",".join(parts), msgspec.json.encode(page.following))
    lines = b"content-type: application/json\r\ncontent-length: %d\r\nhanas-epoch: %d\r\n%b" % (len(body), epoch, INERT)
    return Answer(200, lines, body)


def fail(reply: Reply, error: Exception, epoch: int | None) -> None:
    """Answer with the problem that ``error`` is, or that a refusal means; ``epoch``: the highest one known."""
    if isinstance(error, store.Refusal):
        error = problem(error, reply.path)
    if isinstance(error, Problem):
        reply.answer(error.answer(epoch))
    else:
        reply.fail(error)


def token_needed(authorization: bytes | None) -> Problem:
    """Return the answer to a client without a valid token; ``authorization``: what it sent."""
    challenge = {"www-authenticate": "Bearer"}
    if authorization is not None:
        return Problem(401, "this token is not valid here: send Authorization: Bearer and one that is", challenge)
    return Problem(
        401,
        "a bearer token is needed: Authorization: Bearer ... A client that was redirected may have dropped it, as many "
        "do to another host: use curl --location-trusted, ask the main directly, or send it anew at each redirect",
        challenge,
    )


_PROBLEMS: dict[type[store.Refusal], tuple[int, str, dict[str, str]]] = {
    store.Elsewhere: (503, "there is no main just now; a takeover takes less than a second: try again", TRY_AGAIN),
    store.NotFound: (404, "there is no such key", {}),
    store.Conflict: (412, "the key is not there; nothing was changed", {}),
    store.KeyReused: (422, "this Idempotency-Key came with another request before: use a new one for each write", {}),
    store.Full: (507, "the volume is full and nothing was written: make room on it or enlarge it; reads go on", {}),
    store.TooLarge: (413, "the main takes no value of this size: give all workers the same HANAS_VALUE_BYTES", {}),
    store.Busy: (503, "too many requests are waiting for the volume; nothing was done: try again", TRY_AGAIN),
    store.Crowded: (
        503,
        "too much of what clients send or are sent is under way (HANAS_MEMORY); nothing was done: try again",
        TRY_AGAIN,
    ),
    store.Unreadable: (503, "the value cannot be read just now", TRY_AGAIN),
    store.Unknown: (
        503,
        (
            "the main changed while this write was in flight: it may or may not have been done. "
            "Repeat it with the same Idempotency-Key, or read the key"
        ),
        {**TRY_AGAIN, "hanas-outcome": "unknown"},
    ),
}
"""Status, detail and headers; `Elsewhere` without a main, `Conflict` without a version."""


def problem(refusal: store.Refusal, target: bytes) -> Problem:
    """Return the problem that ``refusal`` is to a request for ``target``, a path with its query."""
    status, detail, headers = _PROBLEMS[type(refusal)]
    match refusal:
        case store.Elsewhere(main=str(main)):
            status, detail, headers = 307, "the main is elsewhere", {"location": main + target.decode("latin-1")}
        case store.Conflict(version=version) if version is not None:
            detail = f"the key has version {version}; nothing was changed; read it again and decide anew"
            headers = {"etag": f'"{version}"'}
        case store.Unreadable(trouble=trouble):
            detail = f"{detail}: {trouble}"
        case _:
            pass
    if refusal.epoch is not None:
        headers = {**headers, "hanas-epoch": str(refusal.epoch)}
    return Problem(status, detail, headers)
