"""Overseers behind the API server's proxy: a document, event streams, and workers that tell their status."""

import asyncio
import contextlib
from typing import Any

import msgspec
from aiohttp import web

from hanas_operator.view import ClusterView
from hanas_overseer.stream import HEARTBEAT_SECONDS


class FakeOverseer:
    """Answers what tests tell it to."""

    def __init__(self) -> None:
        self.view: ClusterView | None = None
        self.streams = True
        self.answers = True
        self.workers: dict[str, dict[str, Any]] = {}
        self.lost: set[str] = set()
        """The pods that say nothing more, as those of a node without power."""
        self.listeners: list[str] = []
        """The overseer pod of each open stream."""
        self.cookies: list[str] = []
        self.token = ""
        """The only token that is taken; empty: any."""
        self._told = asyncio.Condition()
        self._number = 0

    async def show(self, view: ClusterView) -> None:
        """Tell a new state to everybody who listens."""
        async with self._told:
            self.view = view
            self._number += 1
            self._told.notify_all()

    async def end_streams(self) -> None:
        async with self._told:
            self.streams = False
            self._told.notify_all()

    async def handle(self, request: web.Request, path: str) -> web.StreamResponse:
        self.cookies.append(request.cookies.get("hanas-token", ""))
        if self.token and self.cookies[-1] != self.token:
            return web.Response(status=401)
        pod = request.path.split("/pods/")[1].split(":")[0]
        if pod in self.lost:
            await asyncio.Event().wait()
        if path == "/v1/status":
            status = self.workers.get(pod)
            return web.json_response(status) if status is not None else web.Response(status=503)
        if not self.answers:
            return web.Response(status=503, text="no endpoints available")
        if path == "/v1/cluster" and self.view is not None:
            return web.Response(body=msgspec.json.encode(self.view), content_type="application/json")
        if path == "/v1/events" and self.streams:
            self.listeners.append(pod)
            try:
                return await self._stream(request, pod)
            except ConnectionResetError:  # nobody listens any more
                return web.Response()
            finally:
                self.listeners.remove(pod)
        return web.Response(status=503)

    async def _next(self, shown: int) -> int:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT_SECONDS), self._told:
                await self._told.wait_for(lambda: self._number > shown or not self.streams)
        return self._number

    async def _stream(self, request: web.Request, pod: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"retry: 1000\n\n: hello\n\n")
        shown = 0
        while self.streams and self.answers:
            before, shown = shown, await self._next(shown)
            if pod in self.lost:
                await asyncio.Event().wait()
            if shown == before:
                await response.write(b": heartbeat\n\n")
            elif self.view is not None and self.streams:
                document = msgspec.json.encode(self.view)
                await response.write(b"event: cluster\nid: 1\ndata: " + document + b"\n\n")
        return response
