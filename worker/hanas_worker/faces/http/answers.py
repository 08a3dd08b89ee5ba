"""How results of the store look in HTTP: statuses, headers and documents. Each answer carries ``HANas-Epoch``."""

from typing import Protocol

import msgspec

from hanas_core.state import index
from hanas_core.state.entries import Entry
from hanas_core.state.writes import ANY, Outcome, Result, Write
from hanas_serving.answers import Answer, of_problem
from hanas_serving.problems import Problem
from hanas_worker import store
from hanas_worker.faces.http import requests
from hanas_worker.faces.http.requests import Wanted
from hanas_worker.store import Part, PendingRead, PendingWrite

TRY_AGAIN = {"retry-after": "1"}
_REPLACED, _DELETED = Result.REPLACED, Result.DELETED  # a member of an enumeration is slow to look up


class Reply(Protocol):
    """Where an answer goes."""

    path: bytes
    """The path that was asked for, not decoded, and its query."""

    def answer(self, answer: Answer) -> None:
        """Answer the request; at most once."""

    def fail(self, error: BaseException) -> None:
        """Answer that this program made a mistake."""


class KeyRead(PendingRead):
    """A GET of a key, or a HEAD."""

    reply: Reply
    wanted: Wanted
    bodiless: bool = False
    status: int = 200
    lines: bytes = b""

    def choose(self, entry: Entry, epoch: int) -> Part | None:
        """Answer 304, or a HEAD; else return the part of the value to answer with. Raises Problem: 412, 416."""
        origin, sequence, size = entry.origin, entry.sequence, entry.size
        lines = b'etag: "%d-%d"\r\nhanas-epoch: %d\r\naccept-ranges: bytes\r\n' % (origin, sequence, epoch)
        status, part = 200, (0, size)
        wanted = self.wanted
        if wanted is not requests.PLAINLY:
            version = entry.version
            if wanted.if_match is not None and not Write(self.key, None, if_match=wanted.if_match).holds(version):
                raise Problem(412, f"the version is {version}", {"etag": f'"{version}"', "hanas-epoch": str(epoch)})
            unchanged = wanted.if_none_match
            if unchanged is not None and (ANY in unchanged or str(version) in unchanged):
                self.reply.answer(Answer(304, lines))
                return None
            if wanted.part is not None and wanted.if_range in {None, b'"%d-%d"' % version}:
                found = requests.range_of(wanted.part, size)
                if found is not None:
                    status, part = 206, found
                    lines += b"content-range: bytes %d-%d/%d\r\n" % (part[0], part[1] - 1, size)
        length = part[1] - part[0]
        lines = b"content-type: %b\r\n%bcontent-length: %d\r\n" % (entry.content_type.encode("latin-1"), lines, length)
        if self.bodiless:
            self.reply.answer(Answer(status, lines))
            return None
        self.status, self.lines = status, lines
        return part

    def done(self, value: bytes) -> None:
        """Answer 200 or 206."""
        self.reply.answer(Answer(self.status, self.lines, value))

    def fail(self, error: Exception) -> None:
        """Answer with a problem."""
        fail(self.reply, error, self.store.epoch)


class KeyWrite(PendingWrite):
    """A PUT or a DELETE of a key."""

    reply: Reply

    def done(self, outcome: Outcome, epoch: int) -> None:
        """Answer 201 or 204."""
        result, version = outcome.result, outcome.version
        if version is None or result is _DELETED:
            answer = Answer(204, b"hanas-epoch: %d\r\n" % epoch)
        elif result is _REPLACED:
            answer = Answer(204, b'etag: "%d-%d"\r\nhanas-epoch: %d\r\n' % (*version, epoch))
        else:
            answer = Answer(201, b'etag: "%d-%d"\r\nhanas-epoch: %d\r\ncontent-length: 0\r\n' % (*version, epoch))
        self.reply.answer(answer)

    def fail(self, error: Exception) -> None:
        """Answer with a problem."""
        fail(self.reply, error, self.store.epoch)


class Listed(msgspec.Struct, frozen=True):
    """A key in a list."""

    key: str
    version: str
    size: int


class Page(msgspec.Struct, frozen=True):
    """Body of a list."""

    keys: list[Listed]
    next: str | None


def of_page(page: index.Page, epoch: int) -> Answer:
    """Return the answer with a page of the list of keys."""
    keys = [Listed(key, str(entry.version), entry.size) for key, entry in page.entries]
    body = msgspec.json.encode(Page(keys, page.following))
    lines = b"content-type: application/json\r\ncontent-length: %d\r\nhanas-epoch: %d\r\n" % (len(body), epoch)
    return Answer(200, lines, body)


def fail(reply: Reply, error: Exception, epoch: int | None) -> None:
    """Answer with the problem that ``error`` is, or that a refusal means; ``epoch``: the highest one known."""
    if isinstance(error, store.Refusal):
        error = _problem(error, reply.path)
    if isinstance(error, Problem):
        reply.answer(of_problem(error, epoch))
    else:
        reply.fail(error)


_PROBLEMS: dict[type[store.Refusal], tuple[int, str, dict[str, str]]] = {
    store.Elsewhere: (503, "there is no main just now; a takeover takes less than a second: try again", TRY_AGAIN),
    store.NotFound: (404, "there is no such key", {}),
    store.Conflict: (412, "the key is not there; nothing was changed", {}),
    store.KeyReused: (
        422,
        "this Idempotency-Key came with another request before: use a new one for each write",
        {},
    ),
    store.Full: (507, "the volume is full and nothing was written: make room on it or enlarge it; reads go on", {}),
    store.Busy: (503, "too many requests are waiting for the volume; nothing was done: try again", TRY_AGAIN),
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


def _problem(refusal: store.Refusal, target: bytes) -> Problem:
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
