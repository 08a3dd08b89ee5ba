"""Waits until the lab's servers serve, with the reason when they do not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import httpx

from hanas_client import transport
from hanas_client.documents import Cluster, Main, decode
from hanas_client.errors import BadAnswer
from hanas_client.settings import client_token
from hanas_lab.faults import LabError
from hanas_lab.process import ServerProcess

POLL_SECONDS = 0.05
REQUEST_SECONDS = 1.0


class Readiness:
    """Polls servers until they are ready, for at most `patience` seconds each."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._http: httpx.AsyncClient | None = None
        self.trust = transport.trust()
        """What is trusted and shown over TLS."""

    async def close(self) -> None:
        """Close the connections."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def of(self, server: ServerProcess, path: str) -> None:
        """Wait for 200 at `path`. Raises LabError if the process or the time ends first."""

        async def ready() -> str | None:
            response = await self._get(server.url + path)
            if isinstance(response, str):
                return response
            return None if response.status_code == 200 else f"it answers {response.status_code}"

        await self._until(ready, server, f"{server.name} is not ready")

    async def of_a_main(self, overseer: ServerProcess) -> None:
        """Wait until the overseer names a main."""

        async def ready() -> str | None:
            return None if await self.main(overseer.url) is not None else "no worker has become the main"

        await self._until(ready, overseer, "the cluster does not serve")

    async def main(self, overseer_url: str) -> Main | None:
        """Return the main that the overseer names; None without one, or without an answer."""
        response = await self._get(f"{overseer_url}/v1/main")
        if isinstance(response, str) or response.status_code != 200:
            return None
        try:
            return decode(response.content, Cluster, overseer_url).main
        except BadAnswer:
            return None

    async def _get(self, url: str) -> httpx.Response | str:
        """Return the response, or the reason why there is none."""
        if self._http is None:
            token = client_token(None)
            headers = {**transport.HEADERS, **({"authorization": f"Bearer {token}"} if token else {})}
            self._http = httpx.AsyncClient(verify=self.trust, trust_env=False, headers=headers, timeout=REQUEST_SECONDS)
        try:
            return await self._http.get(url)
        except transport.FAILURES as error:
            return transport.failure(error).detail

    async def _until(self, ready: Callable[[], Awaitable[str | None]], server: ServerProcess, failure: str) -> None:
        trouble = "no request was sent"
        try:
            async with asyncio.timeout(self._patience):
                while (answer := await ready()) is not None:
                    trouble = answer
                    if server.state == "ended":
                        raise _ended(server)
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            raise LabError(f"{failure} after {self._patience:.0f} s ({trouble}); its log: {server.log}") from None


def _ended(server: ServerProcess) -> LabError:
    code = None if server.process is None else server.process.returncode
    words = server.last_words()
    why = f": {words}" if words else ""
    return LabError(f"{server.name} ended while starting (exit code {code}){why}; its log: {server.log}")
