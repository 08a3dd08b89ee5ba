"""The worker's HTTP application: ``/v1/kv`` as a plain endpoint, the rest through Starlette's routes."""

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from hanas_core.members.documents import LOG
from hanas_serving import problems
from hanas_serving.budget import Budget
from hanas_serving.credentials import Credentials
from hanas_serving.exposure import Exposure
from hanas_serving.fields import require_no_query
from hanas_serving.gate import Gate, Gated, caller_of
from hanas_serving.principals import Action
from hanas_serving.problems import Problem
from hanas_serving.tls_state import TlsCollector
from hanas_worker.faces.http.answers import TRY_AGAIN, token_needed
from hanas_worker.faces.http.endpoint import KeysEndpoint, concerns_keys
from hanas_worker.faces.http.keys import Keys
from hanas_worker.host.settings import WorkerSettings
from hanas_worker.node import Node
from hanas_worker.ops import status, switchover
from hanas_worker.ops.memory import MemoryCollector, MemoryState
from hanas_worker.ops.metrics import NodeCollector
from hanas_worker.store import Store


class WorkerApplication(Starlette):
    """Starlette, with the hot path taken out in front of its middleware and its router."""

    def __init__(self, settings: WorkerSettings, credentials: Credentials, gate: Gate) -> None:
        """Answer "not yet" until `join` is called."""
        self._gate = gate
        self.node: Node | None = None
        self.waiting_for = "this worker has not joined yet"
        self._callers = credentials.callers
        self.memory = Budget(settings.memory_bytes, settings.queue_bytes)
        """For the bodies and answers on the client port."""
        self.direct = Keys(credentials.callers, settings.value_bytes, gate)
        """Answers plain requests for keys, in front of this application."""
        self._endpoint = KeysEndpoint(self.direct, self.memory)
        self._metrics = CollectorRegistry()
        ProcessCollector(registry=self._metrics)
        self.exposure = Exposure(settings, settings.tls, credentials.callers)
        for collector in (gate.refusals, gate.audit, credentials, self.exposure):
            self._metrics.register(collector)
        super().__init__(
            routes=[
                Route("/v1/status", self._status),
                Route("/v1/switchover", self._switch_over, methods=["POST"]),
                Route("/healthz", self._healthy),
                Route("/readyz", self._ready),
                Route("/mainz", self._main),
                Route("/metrics", self._report),
            ],
            middleware=[Middleware(Gated, gate)],
            exception_handlers={Problem: problems.answer_problem, HTTPException: problems.answer_unknown},
        )
        self.router.redirect_slashes = False

    def join(self, node: Node) -> Store:
        """Answer for ``node`` from now on; return its store."""
        self.node = node
        store = self.direct.store = Store(node.logs[LOG], self.memory)
        self._metrics.register(NodeCollector(node))
        self._metrics.register(MemoryCollector(self.memory))
        self._metrics.register(TlsCollector(node.host.tls))
        return store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and concerns_keys(scope["raw_path"]):
            await self._endpoint(scope, receive, send)
        else:
            await super().__call__(scope, receive, self._with_epoch(send))

    def _with_epoch(self, send: Send) -> Send:
        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start" and self.direct.epoch is not None:
                message["headers"] = [*message["headers"], (b"hanas-epoch", b"%d" % self.direct.epoch)]
            await send(message)

        return send_on

    async def _status(self, request: Request) -> Response:
        self._gate.admit(caller_of(request.scope), self._callers, Action.OBSERVE, token_needed)
        require_no_query(request.scope["query_string"])
        document = status.document(self._joined(), MemoryState.of(self.memory), self.exposure.notices)
        return Response(msgspec.json.encode(document), media_type="application/json")

    async def _switch_over(self, request: Request) -> Response:
        principal = switchover.admit(request, self._callers, self._gate)
        address = caller_of(request.scope).address
        with self._gate.audit.administering(principal, "switchover", address) as administered:
            answer = await switchover.switch_over(request, self._joined(), administered)
        return Response(msgspec.json.encode(answer), switchover.ACCEPTED, media_type="application/json")

    async def _healthy(self, request: Request) -> Response:
        """Answer as long as the event loop runs, whatever the folder does."""
        del request
        return Response("ok\n", media_type="text/plain")

    async def _ready(self, request: Request) -> Response:
        """Answer 200 when this worker serves, or redirects to a main that does, and is not asked to stop."""
        del request
        node = self._joined()
        if node.host.leaving:
            raise Problem(503, "this worker is being stopped: it takes no new clients", TRY_AGAIN)
        if not node.logs[LOG].ready:
            raise Problem(503, "there is no main that serves just now", TRY_AGAIN)
        return Response("ok\n", media_type="text/plain")

    async def _main(self, request: Request) -> Response:
        """Answer 200 at the main, for the health checks of load balancers that do not follow redirects."""
        del request
        if self._joined().logs[LOG].serving is None:
            raise Problem(503, "this worker is not the main: GET /readyz says whether it redirects to it", TRY_AGAIN)
        return Response("main\n", media_type="text/plain")

    def _joined(self) -> Node:
        if self.node is None:
            raise Problem(503, self.waiting_for, TRY_AGAIN)
        return self.node

    async def _report(self, request: Request) -> Response:
        if not self._callers.metrics_are_open:
            self._gate.admit(caller_of(request.scope), self._callers, Action.OBSERVE, token_needed)
        return Response(generate_latest(self._metrics), media_type=CONTENT_TYPE_LATEST)
