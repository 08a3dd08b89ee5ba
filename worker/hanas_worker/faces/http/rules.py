"""What ``/v1/kv`` answers, whichever way a request came and its answer goes: plain calls, without HTTP and waiting.

What it answers at a worker that is not the main: 307 to the main with the same path and query, or 503 with
``Retry-After`` while there is none. Each answer carries ``HANas-Epoch``.
"""

from typing import NamedTuple

import msgspec

from hanas_core.members.roles import Role
from hanas_core.state.entries import Entry
from hanas_core.state.writes import ANY, Outcome, Result, Write
from hanas_core.volume.errors import FolderError
from hanas_serving import access
from hanas_serving.answers import Answer, of_problem
from hanas_serving.problems import Problem
from hanas_worker.faces.http import requests
from hanas_worker.faces.http.requests import Headers, Wanted
from hanas_worker.log.driver import LogDriver
from hanas_worker.log.service import Service

NO_SUCH_KEY = "there is no such key"


class Absent(NamedTuple):
    """A value that is not at hand in memory, and the answer that lacks it."""

    answer: Answer
    entry: Entry
    part: tuple[int, int]
    """Begin and end of what is asked for."""


class Rules:
    """The rules of one worker."""

    def __init__(self, client_tokens: tuple[str, ...], value_bytes: int) -> None:
        """Allow values of ``value_bytes`` at most, and, if there are any, bearers of ``client_tokens`` only."""
        self.node: LogDriver | None = None
        """Set once this worker has joined."""
        self.value_bytes = value_bytes
        self._tokens = client_tokens

    def admit(self, headers: Headers) -> LogDriver:
        """Return the node that answers. Raises Problem: 401, or 503 before there is one."""
        if self._tokens and not access.allowed(dict(headers).get(b"authorization"), self._tokens):
            raise Problem(401, "a bearer token is needed: Authorization: Bearer ...", {"www-authenticate": "Bearer"})
        if self.node is None:
            raise Problem(503, "this worker has not joined yet; try again", {"retry-after": "1"})
        return self.node

    def too_large(self, size: int) -> Problem:
        """Return the answer to a value of this size.

        The connection stays open and swallows the rest: closed under a client that still sends, it would be reset,
        and this answer lost.
        """
        return Problem(
            413,
            f"the value has {size} bytes or more; at most {self.value_bytes} are allowed (HANAS_VALUE_BYTES)",
        )

    def failed(self, problem: Problem) -> Answer:
        """Return the error document."""
        return of_problem(problem, None if self.node is None else self.node.state.member.epoch)


def elsewhere(node: LogDriver, target: bytes) -> Problem:
    """Return where the client should go instead. ``target``: the path and query that it asked for, not decoded."""
    main = node.main_url
    if main is None:
        return Problem(
            503, "there is no main just now; a takeover takes less than a second: try again", {"retry-after": "1"}
        )
    return Problem(307, "the main is elsewhere", {"location": main + target.decode("latin-1")})


def epoch_line(epoch: int) -> bytes:
    """Return the header that tells the epoch."""
    return b"hanas-epoch: %d\r\n" % epoch


def stale_epoch(node: LogDriver) -> int | None:
    """Return the epoch in which a worker that is not the main may be read with ``consistency=stale``, if it may."""
    epoch = node.state.followed_epoch
    return epoch if epoch and node.state.member.role is Role.BACKUP else None


def look(node: LogDriver, key: str, wanted: Wanted, epoch: int) -> Answer | Absent:
    """Return what the index tells of ``key``, which may be read in ``epoch``. Raises Problem: 404, 412, 416."""
    index = node.state.replica.index
    entry = index.get(key)
    if entry is None:
        raise Problem(404, NO_SUCH_KEY, {"hanas-epoch": str(epoch)})
    origin, sequence, size = entry.origin, entry.sequence, entry.size
    lines = b'etag: "%d-%d"\r\nhanas-epoch: %d\r\naccept-ranges: bytes\r\n' % (origin, sequence, epoch)
    status, part = 200, (0, size)
    if wanted is not requests.PLAINLY:
        version = entry.version
        if wanted.if_match is not None and not Write(key, None, if_match=wanted.if_match).holds(version):
            raise Problem(412, f"the version is {version}", {"etag": f'"{version}"', "hanas-epoch": str(epoch)})
        unchanged = wanted.if_none_match
        if unchanged is not None and (ANY in unchanged or str(version) in unchanged):
            return Answer(304, lines)
        if wanted.part is not None and wanted.if_range in {None, b'"%d-%d"' % version}:
            found = requests.range_of(wanted.part, size)
            if found is not None:
                status, part = 206, found
                lines += b"content-range: bytes %d-%d/%d\r\n" % (part[0], part[1] - 1, size)
    length = part[1] - part[0]
    lines = b"content-type: %b\r\n%bcontent-length: %d\r\n" % (entry.content_type.encode("latin-1"), lines, length)
    value = index.cached(key)
    if value is None:
        return Absent(Answer(status, lines), entry, part)
    return Answer(status, lines, value if len(value) == length else value[part[0] : part[1]])


async def fetch(node: LogDriver, key: str, absent: Absent) -> Answer:
    """Return the answer with the value from its place. Raises Moved: look again; Problem: it cannot be read."""
    try:
        value = await node.values.read(key, absent.entry, absent.part)
    except FolderError as error:
        raise Problem(503, f"the value cannot be read just now: {error}", {"retry-after": "1"}) from None
    return msgspec.structs.replace(absent.answer, body=value)


_CREATED, _REPLACED = Result.CREATED, Result.REPLACED


def written(node: LogDriver, service: Service, target: bytes, outcome: Outcome) -> Answer:
    """Return the answer to a write that ended so. Raises Problem if it was not done, or may not have been."""
    result, version = outcome.result, outcome.version
    if version is not None and (result is _REPLACED or result is _CREATED):
        if result is _REPLACED:
            return Answer(204, b'etag: "%d-%d"\r\n%b' % (*version, service.epoch_line))
        return Answer(201, b'etag: "%d-%d"\r\n%bcontent-length: 0\r\n' % (*version, service.epoch_line))
    if result is Result.DELETED or result is Result.COMMITTED:
        return Answer(204, service.epoch_line)
    raise _refused(node, service, target, outcome)


def _refused(node: LogDriver, service: Service, target: bytes, outcome: Outcome) -> Problem:
    epoch = {"hanas-epoch": str(service.epoch)}
    match outcome.result:
        case Result.NOT_FOUND:
            return Problem(404, NO_SUCH_KEY, epoch)
        case Result.CONDITION_FAILED if outcome.version is None:
            return Problem(412, "the key is not there; nothing was changed", epoch)
        case Result.CONDITION_FAILED:
            return Problem(
                412,
                f"the key has version {outcome.version}; nothing was changed; read it again and decide anew",
                {"etag": f'"{outcome.version}"', **epoch},
            )
        case Result.KEY_REUSED:
            return Problem(
                422, "this Idempotency-Key came with another request before: use a new one for each write", epoch
            )
        case Result.NO_SPACE:
            return Problem(
                507, "the volume is full and nothing was written: make room on it or enlarge it; reads go on", epoch
            )
        case Result.BUSY:
            return Problem(
                503,
                "too many writes are waiting for the volume; nothing was done: try again",
                {"retry-after": "1", **epoch},
            )
        case Result.UNKNOWN:
            return Problem(
                503,
                "the main changed while this write was in flight: it may or may not have been done. "
                "Repeat it with the same Idempotency-Key, or read the key",
                {"retry-after": "1", **epoch, "hanas-outcome": "unknown"},
            )
        case Result.NOT_MAIN:
            return elsewhere(node, target)
        case done:
            raise ValueError(f"{done} is no refusal")
