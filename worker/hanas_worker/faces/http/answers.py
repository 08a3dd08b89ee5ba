"""How a list and each refusal of the store look in HTTP: statuses, headers and documents."""

import asyncio
from typing import Protocol

import msgspec

from hanas_core.state.keyspace import KeyPage
from hanas_core.state.keytexts import is_text
from hanas_core.state.leases import MOST_LEASES
from hanas_serving.answers import INERT, Answer
from hanas_serving.problems import Problem
from hanas_worker import refusals, store

TRY_AGAIN = {"retry-after": "1"}


_OF_STRANGERS = frozenset({401, 403, 421, 429})
"""Answers to who may know nothing."""
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


def revision_line(revision: int) -> bytes:
    """Return the header with the store's revision; none in a log without revisions."""
    return b"hanas-revision: %d\r\n" % revision if revision else b""


def texts_of(page: KeyPage, limit: int) -> KeyPage | None:
    """Return up to ``limit`` keys of a page, those that are UTF-8; None if only pages behind it may have such."""
    texts = [row for row in page.entries if is_text(row[0])]
    entries = texts[:limit]
    if page.following is None and len(entries) == len(texts):
        return KeyPage(entries, None)
    return KeyPage(entries, entries[-1][0]) if entries else None


async def of_page(page: KeyPage, epoch: int, revision: int = 0) -> Answer:
    """Return the answer with a page of keys, all UTF-8, made in pieces: others have their turns between them."""
    parts, keys, size = [], [], 0
    for key, entry in page.entries:
        keys.append(Listed(key.decode(), str(entry.version), entry.size))
        size += len(key)
        if size > _PIECE_CHARS:
            parts.append(msgspec.json.encode(keys)[1:-1])
            keys, size = [], 0
            await asyncio.sleep(0)
    if keys:
        parts.append(msgspec.json.encode(keys)[1:-1])
    body = b'{"keys":[%b],"next":%b}' % (
        b",".join(parts),
        msgspec.json.encode(None if page.following is None else page.following.decode()),
    )
    return of_json(200, body, epoch, revision)


def of_json(status: int, body: bytes, epoch: int, revision: int) -> Answer:
    """Return the answer with a document that was made of the store."""
    lines = b"content-type: application/json\r\ncontent-length: %d\r\nhanas-epoch: %d\r\n%b%b"
    return Answer(status, lines % (len(body), epoch, revision_line(revision), INERT), body)


def fail(reply: Reply, error: Exception, asked: store.Store | None) -> None:
    """Answer with the problem that ``error`` is, or that a refusal means. ``asked``: the store, if there is one."""
    revision = 0
    if isinstance(error, refusals.Refusal):
        revision, error = error.revision, problem(error, reply.path)
    if isinstance(error, Problem):
        answer = error.answer(None if asked is None else asked.epoch)
        revision = revision or (0 if asked is None else asked.revision)
        if revision and error.status not in _OF_STRANGERS:
            answer = msgspec.structs.replace(answer, lines=answer.lines + revision_line(revision))
        reply.answer(answer)
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


_PROBLEMS: dict[type[refusals.Refusal], tuple[int, str, dict[str, str]]] = {
    refusals.Elsewhere: (503, "there is no main just now; a takeover takes less than a second: try again", TRY_AGAIN),
    refusals.NotFound: (404, "there is no such key", {}),
    refusals.Conflict: (412, "the key is not there; nothing was changed", {}),
    refusals.KeyReused: (
        422,
        "this Idempotency-Key came with another request before: use a new one for each write",
        {},
    ),
    refusals.Forgotten: (410, "", {}),
    refusals.Future: (400, "", {}),
    refusals.NoLease: (404, "there is no such lease, or it has expired, and nothing was done: grant a new one", {}),
    refusals.LeaseExists: (409, "there is a lease with this id already, and nothing was done: choose another id", {}),
    refusals.LeaseCrowded: (
        413,
        "the lease has so many keys that it can have no more, and nothing was done: attach some to another lease",
        {},
    ),
    refusals.TooManyLeases: (
        429,
        f"there are {MOST_LEASES} leases, and no more can be granted: revoke some, or wait until some expire",
        {"retry-after": "1"},
    ),
    refusals.NoRevisions: (
        503,
        (
            "a member of an older version lives, so there are no revisions, transactions and leases yet; nothing was "
            "done: update it"
        ),
        TRY_AGAIN,
    ),
    refusals.TooManyDeletes: (
        413,
        "the transaction would delete more keys than one can, and nothing was done: delete longer prefixes, or keys",
        {},
    ),
    refusals.TooManyKeys: (
        413,
        "the transaction would look at more keys than one may, and nothing was done: name keys, or longer prefixes",
        {},
    ),
    refusals.Full: (507, "the volume is full and nothing was written: make room on it or enlarge it; reads go on", {}),
    refusals.TooLarge: (413, "the main takes no value of this size: give all workers the same HANAS_VALUE_BYTES", {}),
    refusals.Busy: (503, "too many requests are waiting for the volume; nothing was done: try again", TRY_AGAIN),
    refusals.Crowded: (
        503,
        "too much of what clients send or are sent is under way (HANAS_MEMORY); nothing was done: try again",
        TRY_AGAIN,
    ),
    refusals.Unreadable: (503, "the value cannot be read just now", TRY_AGAIN),
    refusals.Unknown: (
        503,
        (
            "the main changed while this write was in flight: it may or may not have been done. "
            "Repeat it with the same Idempotency-Key, or read the key"
        ),
        {**TRY_AGAIN, "hanas-outcome": "unknown"},
    ),
}
"""Status, detail and headers; `Elsewhere` without a main, `Conflict` without a version."""


def problem(refusal: refusals.Refusal, target: bytes) -> Problem:
    """Return the problem that ``refusal`` is to a request for ``target``, a path with its query."""
    status, detail, headers = _PROBLEMS[type(refusal)]
    match refusal:
        case refusals.Elsewhere(main=str(main)):
            status, detail, headers = 307, "the main is elsewhere", {"location": main + target.decode("latin-1")}
        case refusals.Conflict(version=version) if version is not None:
            detail = f"the key has version {version}; nothing was changed; read it again and decide anew"
            headers = {"etag": f'"{version}"'}
        case refusals.Forgotten(compacted=compacted):
            detail = (
                f"what keys held then is forgotten: revision {compacted} is the lowest that can be read "
                "(HANAS_HISTORY_SECONDS, HANAS_HISTORY_BYTES); read the keys as they are"
            )
            return Problem(status, detail, {"hanas-epoch": str(refusal.epoch)}, {"compacted": compacted})
        case refusals.Future(present=present):
            detail = f"the store has revision {present}: nothing is known of a later one; read without revision"
            return Problem(status, detail, {"hanas-epoch": str(refusal.epoch)})
        case refusals.Unreadable(trouble=trouble):
            detail = f"{detail}: {trouble}"
        case _:
            pass
    if refusal.epoch is not None:
        headers = {**headers, "hanas-epoch": str(refusal.epoch)}
    return Problem(status, detail, headers)
