"""Watches: many on one stream, each with a feed of the store that is read when the client takes what it is sent.

Nothing waits in memory for a slow client but what is on its way. Progress travels behind the events: it is told when
all feeds of the stream have been read up to the revision that the store has confirmed. A watch from now on begins
behind such a revision, too: else it could tell what its client has seen before, at another worker.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Sequence
from functools import partial

from hanas_serving.grpc.calls import StreamMethod
from hanas_serving.grpc.status import RpcError, StatusCode
from hanas_serving.principals import Action
from hanas_worker.faces.etcd import errors
from hanas_worker.faces.etcd.calls import Channel
from hanas_worker.faces.etcd.events import Events, Kind
from hanas_worker.faces.etcd.facts import Facts
from hanas_worker.faces.etcd.messages.rpc_pb2 import (
    WatchCreateRequest,
    WatchRequest,
    WatchResponse,
)
from hanas_worker.faces.etcd.revisions import Feed, Lost, Refusal, Span
from hanas_worker.faces.etcd.translation import span_of

_log = logging.getLogger("hanas.worker")

_TURN_SECONDS = 0.005
"""So long all streams together send without a break."""
_FRAGMENT_BYTES = 2 << 20
"""A response of more than this is cut for those who ask for it."""
PROGRESS_SECONDS = 600.0
"""Between two progress notifications of a watch without events; a tenth more by chance."""
_MOST_WATCHES = 100_000
"""On all streams."""
_MOST_REQUESTS = 10_000
_MOST_REQUEST_BYTES = 4 << 20
"""Of a stream, that wait for the revision from which a watch begins."""
_NOBODY = -1
"""In place of a watch's id."""
_EMPTY_RANGE = "mvcc: watcher range is empty"
_DUPLICATE_ID = "mvcc: duplicate watch ID provided on the WatchStream"


class Watches:
    """The service ``Watch``: the turns of all streams."""

    def __init__(self, facts: Facts, progress_seconds: float = PROGRESS_SECONDS) -> None:
        """Serve the store of ``facts``."""
        self.facts, self.events = facts, Events()
        self.progress_seconds = progress_seconds
        self.watches = 0
        """On all streams."""
        self._ready: dict[WatchSession, None] = {}
        self._coming = False

    def methods(self) -> list[StreamMethod]:
        """Return the method."""
        return [StreamMethod(b"/etcdserverpb.Watch/Watch", WatchRequest.FromString, self.open)]

    def open(self, channel: Channel) -> "WatchSession":
        """Begin a stream of watches."""
        return WatchSession(self, channel)

    def pump_soon(self, session: "WatchSession") -> None:
        """Have ``session`` send what there is, in its turn."""
        self._ready[session] = None
        if not self._coming:
            self._coming = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Let streams send for some milliseconds; the others have their turn when the event loop comes back."""
        self._coming = False
        waiting, self._ready = list(self._ready), {}
        end, at = time.monotonic() + _TURN_SECONDS, 0
        while at < len(waiting) and time.monotonic() < end:
            waiting[at].pump(end)
            at += 1
        if at < len(waiting):
            self._ready = dict.fromkeys(waiting[at:]) | self._ready
        if self._ready:
            self.pump_soon(next(iter(self._ready)))


class _Watch:
    """One watch."""

    __slots__ = "_session", "feed", "fragment", "id", "kind", "progress", "quiet", "start"

    feed: Feed

    def __init__(self, session: "WatchSession", number: int, span: Span, request: WatchCreateRequest) -> None:
        self._session = session
        self.id = number
        self.start = request.start_revision
        self.kind = Kind(
            span,
            request.prev_kv,
            puts=WatchCreateRequest.NOPUT not in request.filters,
            deletes=WatchCreateRequest.NODELETE not in request.filters,
        )
        self.progress, self.fragment = request.progress_notify, request.fragment
        self.quiet = True
        """It has sent no events since the last look."""

    def __call__(self) -> None:
        """Have the feed read: it is ready."""
        self._session.notice(self)


class _Progress:
    """A revision that is to be told when all of ``watches`` have been read up to it.

    That of `_NOBODY` concerns all watches of the stream, as clients take it: also those that were created since.
    """

    __slots__ = "id", "revision", "watches"

    def __init__(self, number: int, watches: Sequence[_Watch]) -> None:
        self.id, self.watches = number, watches
        self.revision: int | None = None


class _Request:
    """What the client asks, until it is carried out."""

    __slots__ = "content", "present", "size"

    def __init__(self, content: WatchRequest) -> None:
        self.content, self.size = content, content.ByteSize()
        self.present: int | Refusal | None = None
        """The revision that a watch from now on begins behind; None: it is not known yet."""

    @property
    def from_now(self) -> bool:
        """Whether it creates a watch from now on."""
        return self.content.HasField("create_request") and not self.content.create_request.start_revision


class WatchSession:
    """The watches of one stream."""

    def __init__(self, service: Watches, channel: Channel) -> None:
        """Begin with none."""
        self._service, self._channel = service, channel
        self._facts, self._store = service.facts, service.facts.store
        self._loop = asyncio.get_running_loop()
        self._watches: dict[int, _Watch] = {}
        self._next = 0
        self._requests: deque[_Request] = deque()
        """Those that are not carried out yet, in order: the first one waits for a revision."""
        self._requests_bytes = 0
        self._asking = False
        """... which the store was asked for."""
        self._ready: dict[_Watch, None] = {}
        """Those whose feeds may have something."""
        self._progress: list[_Progress] = []
        self._timer = self._arm()

    def _arm(self) -> asyncio.TimerHandle:
        seconds = self._service.progress_seconds
        return self._loop.call_later(seconds * random.uniform(1, 1.1), self._tell_progress)

    # ------------------------------------------------------------------ what the client asks

    def received(self, request: WatchRequest) -> None:
        """Take a request. All are carried out in their order."""
        asked = _Request(request)
        self._requests.append(asked)
        self._requests_bytes += asked.size
        if len(self._requests) > _MOST_REQUESTS or self._requests_bytes > _MOST_REQUEST_BYTES:
            raise errors.TOO_MANY_REQUESTS
        self._carry_out()

    def _ask(self) -> None:
        """Ask for the present revision, for all that need one: a stream has one question at a time."""
        if not self._asking:
            self._asking = True
            asked = [request for request in self._requests if request.from_now and request.present is None]
            self._store.confirm(partial(self._confirmed, asked))

    def _confirmed(self, asked: Sequence[_Request], present: int | Refusal) -> None:
        self._asking = False
        for request in asked:
            request.present = present
        self._go_on()

    def _go_on(self) -> None:
        try:
            self._carry_out()
        except RpcError as error:
            self._channel.fail_with(error)
        except Exception as error:
            _log.error("an error of this program", exc_info=error)
            self._channel.fail_with(errors.FAILED)

    def _carry_out(self) -> None:
        """Carry out the requests up to the first one that waits for a revision, for some milliseconds at a time.

        Raises RpcError.
        """
        end = time.monotonic() + _TURN_SECONDS
        while self._requests and not self._channel.done:
            first = self._requests[0]
            if first.from_now and first.present is None:
                self._ask()
                return
            self._requests.popleft()
            self._requests_bytes -= first.size
            if isinstance(first.present, Refusal):
                error = errors.of(first.present)
                # its client comes again, as it would not with another code: that would end all its watches for good
                raise error if error.code is StatusCode.UNAVAILABLE else errors.TIMED_OUT
            self._do(first.content, first.present)
            if self._requests and time.monotonic() > end:
                self._loop.call_soon(self._go_on)
                return

    def _do(self, request: WatchRequest, present: int | None) -> None:
        match request.WhichOneof("request_union"):
            case "create_request":
                self._create(request.create_request, present)
            case "cancel_request":
                self._cancel(request.cancel_request.watch_id)
            case "progress_request":
                self._request_progress(_NOBODY, list(self._watches.values()))
            case _:
                pass  # as etcd does

    def _create(self, request: WatchCreateRequest, present: int | None) -> None:
        """Begin a watch, behind ``present`` if that is given."""
        span = span_of(request.key or b"\0", request.range_end)
        if span.end and span.begin >= span.end:
            self._refuse(_EMPTY_RANGE)
            return
        if request.watch_id and request.watch_id in self._watches:
            self._refuse(_DUPLICATE_ID)
            return
        if self._service.watches >= _MOST_WATCHES:
            raise errors.TOO_MANY_REQUESTS
        try:
            for action in (Action.WATCH, Action.READ):
                self._facts.rights.on_keys(self._channel, action, span)
        except RpcError as error:
            self._refuse(error.text)
            return
        number = request.watch_id or self._free_id()
        watch = _Watch(self, number, span, request)
        self._send(WatchResponse(watch_id=number, created=True), present)
        start = max(1, watch.start) if present is None else present + 1
        watch.feed = self._store.watch(span, start, watch, previous=request.prev_kv)
        self._watches[number] = watch
        self._service.watches += 1
        self.notice(watch)

    def _free_id(self) -> int:
        while self._next in self._watches:
            self._next += 1
        self._next += 1
        return self._next - 1

    def _refuse(self, reason: str) -> None:
        self._send(WatchResponse(watch_id=_NOBODY, created=True, canceled=True, cancel_reason=reason))

    def _cancel(self, number: int) -> None:
        watch = self._watches.get(number)
        if watch is not None:
            self._drop(watch)
            self._send(WatchResponse(watch_id=number, canceled=True))

    def _drop(self, watch: _Watch) -> None:
        del self._watches[watch.id]
        self._service.watches -= 1
        self._ready.pop(watch, None)
        watch.feed.close()

    def _send(self, response: WatchResponse, revision: int | None = None) -> None:
        response.header.CopyFrom(self._facts.header(revision))
        self._channel.send(response.SerializeToString())

    # ------------------------------------------------------------------ events

    def notice(self, watch: _Watch) -> None:
        """Read the feed of a watch soon."""
        if self._watches.get(watch.id) is watch:
            self._ready[watch] = None
            self._service.pump_soon(self)

    def pump(self, end: float) -> None:
        """Send the next changes of each watch that has some, until ``end``, unless the client has much to take."""
        try:
            self._pump(end)
        except Exception as error:
            _log.error("an error of this program", exc_info=error)
            self._channel.fail_with(errors.FAILED)

    def _pump(self, end: float) -> None:
        ready, self._ready = self._ready, {}
        waiting = list(ready)
        at = 0
        while at < len(waiting) and not (self._channel.done or self._channel.congested) and time.monotonic() < end:
            if self._watches.get(waiting[at].id) is waiting[at]:
                self._read(waiting[at])
            at += 1
        if at < len(waiting):
            self._ready = dict.fromkeys(waiting[at:]) | self._ready
        if self._progress:
            self._send_progress()
        if self._ready and not (self._channel.done or self._channel.congested):
            self._service.pump_soon(self)

    def _read(self, watch: _Watch) -> None:
        changes = watch.feed.take(self._channel.share)
        if isinstance(changes, Lost):
            self._drop(watch)
            response = WatchResponse(watch_id=watch.id, canceled=True, compact_revision=changes.compacted)
            self._send(response, 0)  # as etcd does
            return
        if not changes:
            return
        self._ready[watch] = None
        chosen = watch.kind.chosen(changes)
        if chosen:
            watch.quiet = False
            self._send_events(watch, self._service.events.batch(chosen, watch.kind))

    def _send_events(self, watch: _Watch, events: list[bytes]) -> None:
        header = self._facts.header(watch.feed.position)
        whole = WatchResponse(header=header, watch_id=watch.id).SerializeToString()
        if not watch.fragment or len(whole) + sum(map(len, events)) < _FRAGMENT_BYTES or len(events) == 1:
            self._channel.send(b"".join([whole, *events]))
            return
        part = WatchResponse(header=header, watch_id=watch.id, fragment=True).SerializeToString()
        at = 0
        while at < len(events):
            begin, size = at, len(part) + len(events[at])
            at += 1
            while at < len(events) and size + len(events[at]) < _FRAGMENT_BYTES:
                size += len(events[at])
                at += 1
            self._channel.send(b"".join([part if at < len(events) else whole, *events[begin:at]]))

    # ------------------------------------------------------------------ progress

    def _request_progress(self, number: int, watches: Sequence[_Watch]) -> None:
        """Tell how far ``watches`` have come, when that is certain; nothing without any, as etcd does."""
        if not watches or any(other.id == number and other.revision is None for other in self._progress):
            return
        progress = _Progress(number, watches)
        self._progress.append(progress)

        def confirmed(revision: int | Refusal) -> None:
            if progress not in self._progress:  # the stream has ended, or nobody is left to be told
                return
            concerned = self._concerned(progress)
            if isinstance(revision, Refusal) or not concerned:
                self._progress.remove(progress)
                return
            progress.revision = revision
            for watch in concerned:
                self.notice(watch)

        self._store.confirm(confirmed)

    def _concerned(self, progress: _Progress) -> list[_Watch]:
        if progress.id == _NOBODY:
            return list(self._watches.values())
        return [watch for watch in progress.watches if self._watches.get(watch.id) is watch]

    def _send_progress(self) -> None:
        waiting: list[_Progress] = []
        for progress in self._progress:
            revision = progress.revision
            watches = self._concerned(progress)
            if not watches:
                continue
            if revision is None:
                waiting.append(progress)
            elif any(revision < watch.start for watch in watches):
                continue
            elif any(watch in self._ready for watch in watches):
                waiting.append(progress)
            elif behind := [watch for watch in watches if watch.feed.position < revision]:
                waiting.append(progress)
                for watch in behind:  # a feed has turns of its own, and says nothing when there was nothing for it
                    self._loop.call_later(_TURN_SECONDS, self.notice, watch)
            else:
                self._send(WatchResponse(watch_id=progress.id), revision)
        self._progress = waiting

    def _tell_progress(self) -> None:
        """Tell those who asked for it that nothing has happened."""
        self._timer = self._arm()
        for watch in self._watches.values():
            if watch.progress and watch.quiet:
                self._request_progress(watch.id, [watch])
            watch.quiet = True

    # ------------------------------------------------------------------ the stream

    def ended(self) -> None:
        """Go on: the client asks nothing more, and watches."""

    def drained(self) -> None:
        """Go on: the client has taken most of what was sent."""
        self._service.pump_soon(self)

    def gone(self) -> None:
        """End all watches."""
        self._timer.cancel()
        self._requests.clear()
        watches, self._watches = self._watches, {}
        self._service.watches -= len(watches)
        self._ready.clear()
        self._progress.clear()
        for watch in watches.values():
            watch.feed.close()
