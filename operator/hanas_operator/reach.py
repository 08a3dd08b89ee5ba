"""HTTP access to overseers and workers: direct inside the cluster, else through the proxy of the API server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import aiohttp

from hanas_operator import names
from hanas_operator.api import Api, ApiError

ANSWER_SECONDS = 3.0
SILENCE_SECONDS = 25.0
"""An event stream counts as broken after this silence: the overseer sends a comment every ten seconds."""


class Unreachable(Exception):
    """No valid answer came. The message names the server and the reason."""


class HttpInterface:
    """An HTTP interface inside the cluster: its URL, and its path in the proxy."""

    def __init__(self, namespace: str, host: str, port: int, proxy: str) -> None:
        """``host``: its DNS name; ``proxy``: its path in the API, such as ``services/NAME:PORT``."""
        self.url = f"http://{host}.{namespace}.svc:{port}"
        self.proxied = f"/api/v1/namespaces/{namespace}/{proxy}/proxy"


def overseer(namespace: str, cluster: str) -> HttpInterface:
    """Return the interface of the overseers."""
    name = names.of(cluster, names.OVERSEER)
    return HttpInterface(namespace, name, names.OVERSEER_PORT, f"services/{name}:{names.OVERSEER_PORT}")


def worker(namespace: str, cluster: str, member: str) -> HttpInterface:
    """Return the interface of a worker."""
    pod = names.of(cluster, member)
    host = f"{pod}.{names.of(cluster, names.HEADLESS)}"
    return HttpInterface(namespace, host, names.WORKER_PORT, f"pods/{pod}:{names.WORKER_PORT}")


class DirectReach:
    """Direct access, inside the cluster."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        """Use ``session``, which stays the caller's to close."""
        self._session = session

    @asynccontextmanager
    async def open(
        self, place: HttpInterface, path: str, token: str, *, stream: bool = False
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the answer to ``GET path``, whose status is 200. Raises Unreachable, also while it is read."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            async with self._session.get(place.url + path, headers=headers, timeout=_timeout(stream)) as response:
                if response.status != 200:
                    raise Unreachable(f"{place.url}{path} answered {response.status}")
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{place.url}: {str(error) or type(error).__name__}") from None


class ProxiedReach:
    """Access through the API server, which uses the Authorization header itself: the token goes as a cookie."""

    def __init__(self, api: Api) -> None:
        """Use ``api``."""
        self._api = api

    @asynccontextmanager
    async def open(
        self, place: HttpInterface, path: str, token: str, *, stream: bool = False
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the answer, as `DirectReach.open` does."""
        headers = {"Cookie": f"hanas-token={quote(token, safe='')}"} if token else {}
        try:
            timeout = _timeout(stream)
            async with self._api.open("GET", place.proxied + path, headers=headers, timeout=timeout) as response:
                yield response
        except ApiError as error:  # also what breaks while the answer is read
            raise Unreachable(f"{place.proxied}: {error}") from None


Reach = DirectReach | ProxiedReach
"""Access to HTTP interfaces by GET requests."""


def _timeout(stream: bool) -> aiohttp.ClientTimeout:
    if stream:
        return aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_SECONDS, sock_read=SILENCE_SECONDS)
    return aiohttp.ClientTimeout(total=ANSWER_SECONDS)
