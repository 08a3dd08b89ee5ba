"""The HTTP calls of the overseer (docs/api.md): arbitration, documents, events, and the probes of Kubernetes."""

from collections.abc import Awaitable
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from hanas_core.epochs.arbitration import Arrival, Challenge
from hanas_core.members.documents import Report
from hanas_overseer import bodies, stream
from hanas_overseer.decisions import Decisions
from hanas_overseer.documents import AlertsDocument, EpochsDocument, HighestEpoch, PoolDocument, TakeoversDocument
from hanas_overseer.metrics import OverseerMetrics
from hanas_overseer.watcher import Watcher
from hanas_serving import problems
from hanas_serving.gate import require_name
from hanas_serving.problems import Problem

_RETRY = {"Retry-After": "1"}
_FRESH = {"Cache-Control": "no-store"}
_STREAM = {**_FRESH, "X-Accel-Buffering": "no"}
Outcome = TypeVar("Outcome")
Addressed = TypeVar("Addressed", Arrival, Challenge, Report)
"""A body that names the folder it is meant for."""


def document(content: object, status: int = 200) -> Response:
    """Return a document as JSON."""
    return Response(msgspec.json.encode(content), status, _FRESH, "application/json")


async def answer_unavailable(_: Request, error: Exception) -> Response:
    """Starlette's exception handler for `FolderError`: the folder cannot be used now."""
    return problems.response(Problem(503, f"FolderUnavailable: {error}; try again", _RETRY))


async def answer_refused(_: Request, refusal: Exception) -> Response:
    """Starlette's exception handler for `Refused`: the request is invalid."""
    return problems.response(Problem(400, str(refusal)))


class Calls:
    """The endpoints, each a coroutine from request to response."""

    def __init__(self, decisions: Decisions, watcher: Watcher, metrics: OverseerMetrics) -> None:
        """Decide with ``decisions``, and answer with the state that ``watcher`` read."""
        self._decisions = decisions
        self._watcher = watcher
        self._metrics = metrics
        self.leaving = False
        """This overseer is asked to stop, and takes no new clients."""

    async def claim(self, request: Request) -> Response:
        """``POST /v1/claim``: a worker has started."""
        arrival = await self._receive(request, Arrival)
        watcher = self._watcher
        return document(await self._decide(self._decisions.arrive(arrival, watcher.vacancies, watcher.highest)))

    async def takeover(self, request: Request) -> Response:
        """``POST /v1/takeover``: a backup has concluded that the main failed."""
        challenge = await self._receive(request, Challenge)
        ruling = await self._decide(self._decisions.challenge(challenge))
        self._metrics.ruled(granted=ruling.granted)
        main = ruling.main
        if not ruling.granted:  # the answer holds the present epoch and main as extension members (RFC 9457, 3.2)
            detail = f"the highest epoch is {main.epoch}, with the main {main.member}: follow it"
            raise Problem(409, detail, _FRESH, {"epoch": main.epoch, "main": main})
        return document(HighestEpoch(epoch=main.epoch, main=main))

    async def report(self, request: Request) -> Response:
        """``POST /v1/report``: a worker reports its state over the network."""
        self._watcher.take(await self._receive(request, Report))
        return Response(status_code=204, headers=_FRESH)

    async def forget(self, request: Request) -> Response:
        """``DELETE /v1/pool/{member}``: a dead member will not come back and must raise no alerts."""
        name = request.path_params["member"]
        member = next((entry for entry in (await self._watcher.cluster()).members if entry.member == name), None)
        if member is None:
            raise Problem(404, f"there is no member {name[:80]!r}: GET /v1/pool lists all members")
        if member.alive:
            raise Problem(409, f"{name} is alive: stop its process instead, then it leaves the pool itself")
        if member.alive is None:
            raise Problem(409, f"it is not known yet whether {name} is alive: try again in a few seconds", _RETRY)
        await self._decide(self._decisions.forget(name))
        return Response(status_code=204, headers=_FRESH)

    async def _receive(self, request: Request, kind: type[Addressed]) -> Addressed:
        """Return the body. Raises Problem, 421 if it is meant for another folder."""
        body = bodies.decode(await bodies.read(request), kind)
        if body.folder_id != self._decisions.folder_id:
            raise Problem(
                421,
                f"FolderUnavailable: the folder here is {self._decisions.folder_id}, not {body.folder_id[:80]!r}: "
                "worker and overseer must mount the same volume",
            )
        require_name(request.scope, body.member)
        return body

    async def _decide(self, decision: Awaitable[Outcome]) -> Outcome:
        """Return the outcome. No later answer comes from a look at the folder that began before it."""
        try:
            return await decision
        finally:
            self._watcher.changed()

    async def main(self, _: Request) -> Response:
        """``GET /v1/main``."""
        return document(await self._watcher.main())

    async def pool(self, _: Request) -> Response:
        """``GET /v1/pool``."""
        return document(PoolDocument(members=(await self._watcher.cluster()).members))

    async def cluster(self, _: Request) -> Response:
        """``GET /v1/cluster``."""
        return document(await self._watcher.cluster())

    async def epochs(self, request: Request) -> Response:
        """``GET /v1/epochs``, and ``GET /v1/takeovers``: the whole history."""
        observation = await self._watcher.observation()
        if not observation.complete:
            raise Problem(
                503, f"the history is still being read, back to epoch {observation.lowest} so far; try again", _RETRY
            )
        if request.url.path.endswith("/takeovers"):
            return document(TakeoversDocument(takeovers=observation.takeovers))
        return document(EpochsDocument(epochs=observation.takeovers))

    async def alerts(self, _: Request) -> Response:
        """``GET /v1/alerts``."""
        return document(AlertsDocument(alerts=(await self._watcher.cluster()).alerts))

    async def events(self, request: Request) -> Response:
        """``GET /v1/events``: a stream that ends when the overseer stops."""
        if request.method == "HEAD":  # a stream after a head would block the connection's next request
            return Response(headers=_STREAM, media_type="text/event-stream")
        if not self._metrics.room_for_stream:
            raise Problem(503, "there are too many event streams: close those that you do not need, try again", _RETRY)
        last = stream.epoch_of(request.headers.get("last-event-id"))
        content = self._metrics.counted(stream.events(self._watcher.board, last))
        return StreamingResponse(content, headers=_STREAM, media_type="text/event-stream")

    async def health(self, _: Request) -> Response:
        """``GET /healthz``: the event loop runs."""
        return Response(b"ok\n", headers=_FRESH, media_type="text/plain")

    async def ready(self, _: Request) -> Response:
        """``GET /readyz``: the folder was read recently, and this overseer is not asked to stop."""
        if self.leaving:
            raise Problem(503, "this overseer is being stopped: it takes no new clients", _RETRY)
        age = self._watcher.age
        if age is None or age > self._watcher.stale_after:
            # this call is open: only the alerts and the log say more, which may name the folder
            raise Problem(503, "FolderUnavailable: the folder was not read lately; the alerts say why", _RETRY)
        return Response(b"ready\n", headers=_FRESH, media_type="text/plain")

    async def metrics(self, _: Request) -> Response:
        """``GET /metrics`` for Prometheus."""
        return self._metrics.response()
