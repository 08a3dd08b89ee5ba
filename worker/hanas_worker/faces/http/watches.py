"""``GET /v1/watch``: the changes of keys as a stream, of server-sent events or of lines of JSON (docs/api.md)."""

import asyncio
from collections.abc import Callable, Coroutine
from enum import Enum

import msgspec
from msgspec import UNSET, UnsetType
from starlette.types import Receive, Scope, Send

from hanas_core.state.changes import Lost
from hanas_core.state.keytexts import is_text
from hanas_core.state.transactions import Span
from hanas_serving.answers import INERT_HEADERS, Headers
from hanas_serving.gate import caller_of
from hanas_serving.principals import Action, may
from hanas_serving.problems import Problem
from hanas_worker.faces.http import requests
from hanas_worker.faces.http.answers import token_needed
from hanas_worker.faces.http.keys import Keys
from hanas_worker.faces.http.transactions import KeyRead, read_of
from hanas_worker.refusals import Future, Refusal
from hanas_worker.store import Change, Changes, Feed, Store

PATH = b"/v1/watch"
PROGRESS_SECONDS = 2.0
"""Progress is told when nothing was told for so long, at the latest after twice as long."""
_STRETCH_BYTES = 64 << 10
"""So much is sent at a time, and one more revision."""
_MOST_VALUE_BYTES = 4 << 20
"""Values that take more in one revision are left out."""
_RETRY = b"retry: 1000\n\n"
_OF_WATCHES = frozenset({"prefix", "key", "from", "prev"})
_MORE = {"type": "http.response.body", "body": b"", "more_body": True}


class Gone(msgspec.Struct, frozen=True):
    """A key that was deleted."""

    key: str


class KeyChange(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key that was changed: either written, or deleted."""

    put: KeyRead | UnsetType = UNSET
    delete: Gone | UnsetType = UNSET
    previous: KeyRead | UnsetType = UNSET
    """What it held before, if that was asked for, and it was there."""


class RevisionChanges(msgspec.Struct, frozen=True):
    """All that a revision changed below the prefix."""

    revision: int
    changes: list[KeyChange]


class Progress(msgspec.Struct, frozen=True):
    """Everything up to this revision was told, and it was the present one a moment ago."""

    progress: int


class Compacted(msgspec.Struct, frozen=True):
    """The end: changes up to this revision are forgotten, and were not all told."""

    compacted: int


class Form(Enum):
    """How a stream is written."""

    EVENTS = "text/event-stream"
    LINES = "application/x-ndjson"

    def revision(self, changes: RevisionChanges) -> bytes:
        """Return what tells the changes of a revision."""
        content = msgspec.json.encode(changes)
        return content + b"\n" if self is Form.LINES else b"id: %d\ndata: %b\n\n" % (changes.revision, content)

    def progress(self, revision: int) -> bytes:
        """Return what tells that there is nothing up to a revision."""
        lines = self is Form.LINES
        return msgspec.json.encode(Progress(revision)) + b"\n" if lines else b": progress %d\n\n" % revision

    def lost(self, compacted: int) -> bytes:
        """Return the end of a watch whose changes are forgotten."""
        content = msgspec.json.encode(Compacted(compacted))
        return content + b"\n" if self is Form.LINES else b"event: compacted\ndata: %b\n\n" % content


class Stream:
    """One watch of one client."""

    def __init__(self, store: Store, form: Form) -> None:
        """Write for a client of ``store``."""
        self._store, self._form = store, form
        self.news = asyncio.Event()
        """There may be something to send, or the client is gone."""
        self.gone = False
        self._asked = False
        """It was asked how far the store has come, and no progress is told yet."""
        self._confirmed: int | None = None
        self._ended = self._quiet = False
        """The stream is over; nothing was told since the last tick."""
        self._timer: asyncio.TimerHandle

    async def run(self, feed: Feed, head: Headers, receive: Receive, send: Send) -> None:
        """Send until the client is gone, its changes are forgotten, or this worker cannot tell how far it is."""
        leaving = asyncio.create_task(self._await_end(receive))
        self._tick()
        try:
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({**_MORE, "body": _RETRY if self._form is Form.EVENTS else b""})
            while not (self.gone or self._ended):
                await send(_MORE)  # returns when the client has taken most of what it was sent
                content = self._next(feed)
                if content:
                    await send({**_MORE, "body": content})
                elif not self._ended:
                    await self.news.wait()
            await send({**_MORE, "more_body": False})
        finally:
            leaving.cancel()
            self._timer.cancel()
            feed.close()

    def _next(self, feed: Feed) -> bytes:
        """Return what comes next; empty: nothing yet."""
        self.news.clear()
        while isinstance(changes := feed.take(_STRETCH_BYTES), Changes) and changes.changes:
            if content := _encoded(changes, self._form):
                self._quiet = False
                return content  # else all keys are no UTF-8
        if isinstance(changes, Lost):
            self._ended = True
            return self._form.lost(changes.compacted)
        if self._confirmed is not None and feed.position >= self._confirmed:
            self._confirmed, self._asked = None, False
            return self._form.progress(feed.position)
        return b""

    def _tick(self) -> None:
        """Ask how far the store has come if nothing was told since the last tick."""
        self._timer = asyncio.get_running_loop().call_later(PROGRESS_SECONDS, self._tick)
        if self._quiet and not self._asked:
            self._asked = True
            self._store.confirm(self._note)
        self._quiet = True

    def _note(self, present: int | Refusal) -> None:
        if isinstance(present, Refusal):
            self._ended = True
        else:
            self._confirmed = present
        self.news.set()

    async def _await_end(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.news.set()


async def open_stream(keys: Keys, scope: Scope) -> Callable[[Receive, Send], Coroutine[None, None, None]]:
    """Return what sends the stream that is asked for. Raises Problem, Refusal."""
    headers = keys.gate.examine(scope["method"], scope["headers"])
    caller = caller_of({**scope, "headers": headers})
    principal = keys.gate.admit_somewhere(caller, keys.callers, Action.WATCH, token_needed)
    store = keys.joined()
    if scope["method"] != "GET":
        raise Problem(405, "a watch takes GET only", {"allow": "GET"})
    query = requests.query_of(scope["query_string"], _OF_WATCHES)
    content, span = _span_of(query)
    for action in (Action.READ, Action.WATCH):
        if not may(principal, action, content):
            raise keys.gate.denial(principal, caller, keys.callers, action, token_needed, content)
    start, previous = _start_of(query, headers), query.get("prev", "0")
    if previous not in {"0", "1"}:
        raise Problem(400, f"prev must be 0 or 1, not {previous[:40]!r}")
    form = _form_of(headers)
    stream = Stream(store, form)
    try:
        feed = await store.watch(span, start, stream.news.set, previous=previous == "1")
    except Future as error:
        present = error.present
        raise Problem(
            400, f"the store has revision {present}: watch from {present + 1} at most, or without from"
        ) from None
    head: Headers = [
        (b"content-type", form.value.encode()),
        (b"cache-control", b"no-store"),
        (b"hanas-epoch", b"%d" % store.epoch),
        (b"hanas-revision", b"%d" % (feed.position if start is None else store.revision)),
        *INERT_HEADERS,
    ]
    return lambda receive, send: stream.run(feed, head, receive, send)


def _span_of(query: dict[str, str]) -> tuple[bytes, Span]:
    """Return the key or the prefix that is watched, and its span. Raises Problem: 400."""
    if "key" not in query:
        prefix = query.get("prefix", "").encode()
        return prefix, Span.prefix(prefix)
    if "prefix" in query:
        raise Problem(400, "a watch takes either key or prefix")
    key = requests.checked(query["key"].encode())
    return key, Span.one(key)


def _start_of(query: dict[str, str], headers: Headers) -> int | None:
    """Return the first revision that is asked for; None: from now on."""
    last = next((value.decode("latin-1") for name, value in headers if name == b"last-event-id"), None)
    if last is not None:
        return requests.number_of(last, "Last-Event-ID") + 1
    return requests.number_of(query["from"], "from") if "from" in query else None


def _form_of(headers: Headers) -> Form:
    accepted = next((value.decode("latin-1").lower() for name, value in headers if name == b"accept"), "")
    return Form.LINES if Form.LINES.value in accepted else Form.EVENTS


def _encoded(changes: Changes, form: Form) -> bytes:
    content = changes.forms.get(form)
    if content is None:
        content = changes.forms[form] = b"".join(form.revision(each) for each in _revisions(changes))
    return content


def _revisions(changes: Changes) -> list[RevisionChanges]:
    by_revision: dict[int, list[Change]] = {}
    for change in changes.changes:
        if is_text(change.key):
            by_revision.setdefault(change.revision, []).append(change)
    told = []
    for revision, group in by_revision.items():
        small = sum(len(change.value) + len(change.previous) for change in group) <= _MOST_VALUE_BYTES
        told.append(RevisionChanges(revision, [_key_change(change, small=small) for change in group]))
    return told


def _key_change(change: Change, *, small: bool) -> KeyChange:
    key, entry, before = change.key, change.entry, change.before
    return KeyChange(
        put=UNSET if entry is None else read_of(key, entry, change.value if small else None),
        delete=Gone(key.decode()) if entry is None else UNSET,
        previous=UNSET if before is None else read_of(key, before, change.previous if small else None),
    )
