"""Watches: which stream to ask for next, and what its lines tell. Without I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from hanas_client.calls import Call, Reply, query_of, revision_of
from hanas_client.documents import LenientDocument, decode
from hanas_client.errors import BadAnswer, Compacted
from hanas_client.transactions import KeyState

PATH = "/v1/watch"
SILENCE_SECONDS = 8.0
"""A worker tells changes or progress every four seconds at least; a longer silence means a dead connection."""
MOST_LINE_BYTES = 64 << 20
"""Several times the largest revision that a worker tells."""


class Gone(LenientDocument, frozen=True):
    """A key that was deleted."""

    key: str


class Change(LenientDocument, frozen=True):
    """A key that was changed: `put` is what it holds since, or `delete` names it.

    `previous`: what it held before, if that was asked for, and it was there.
    """

    put: KeyState | None = None
    delete: Gone | None = None
    previous: KeyState | None = None

    @property
    def key(self) -> str:
        """The key."""
        changed = self.put or self.delete
        return "" if changed is None else changed.key


class Changes(LenientDocument, frozen=True):
    """All that one revision changed; without changes it is progress: everything up to `revision` was told."""

    revision: int
    changes: tuple[Change, ...] = ()


class _Line(LenientDocument, frozen=True):
    revision: int = 0
    changes: tuple[Change, ...] = ()
    progress: int | None = None
    compacted: int | None = None


@dataclass(slots=True)
class Cursor:
    """Where a watch is: `revision` is the last one of which everything was told, None before that is known."""

    prefix: str
    key: str | None = None
    revision: int | None = None
    previous: bool = False
    _rest: list[bytes] = field(default_factory=list)
    _size: int = 0

    def call(self) -> Call:
        """Return the request for a stream that goes on from here."""
        self._rest, self._size = [], 0
        parameters = {
            "prefix": self.prefix or None if self.key is None else None,
            "key": self.key,
            "from": None if self.revision is None else self.revision + 1,
            "prev": 1 if self.previous else None,
        }
        return Call("GET", PATH + query_of(parameters), {"accept": "application/x-ndjson"})

    def begin(self, head: Reply) -> None:
        """Take the head of a stream."""
        if self.revision is not None:
            return
        self.revision = revision_of(head)
        if self.revision is None:
            raise BadAnswer("the server does not tell a revision; is it of an older version?")

    def feed(self, chunk: bytes) -> Iterator[Changes]:
        """Yield what the lines tell that `chunk` completes, and is not told yet. Raises Compacted, BadAnswer.

        The cursor moves with what is taken from the iterator; take all of it before the next chunk.
        """
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            line = b"".join((*self._rest, end))
            self._rest, self._size = [], 0
            if line and (changes := self._take(decode(line, _Line, "the server"))) is not None:
                yield changes
        self._rest.append(rest)
        self._size += len(rest)
        if self._size > MOST_LINE_BYTES:
            raise BadAnswer(f"a line of the watch has more than {MOST_LINE_BYTES} bytes")

    def _take(self, line: _Line) -> Changes | None:
        if line.compacted is not None:
            raise forgotten(line.compacted)
        last = -1 if self.revision is None else self.revision
        if line.progress is not None:
            revision, told = line.progress, line.progress < last
        else:
            revision, told = line.revision, line.revision <= last
        if told:
            return None
        self.revision = revision
        return Changes(revision=revision, changes=line.changes)


def forgotten(compacted: int) -> Compacted:
    """Return the end of a watch whose next changes are forgotten."""
    detail = (
        f"changes up to revision {compacted} are forgotten; read the keys, and watch from the revision of the answer"
    )
    return Compacted("Gone", detail, compacted)
