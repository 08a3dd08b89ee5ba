"""HTTP access to overseers and workers: direct inside the cluster, else through the proxy of the API server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import quote

import aiohttp

from hanas_operator import names
from hanas_operator.api import Api, ApiError, Resource

ANSWER_SECONDS = 3.0
SILENCE_SECONDS = 3.0
_MOST_REPLY_BYTES = 64 << 10
"""An event stream counts as broken after this silence: the overseer sends a comment every second."""


class Unreachable(Exception):
    """No valid answer came. The message names the server and the reason."""


class Unauthorized(Unreachable):
    """The server refused the token."""


class Reply(NamedTuple):
    """An answer, whatever its status is."""

    status: int
    body: bytes


class HttpInterface(NamedTuple):
    """An HTTP interface of a pod: its URL, empty while the pod has no address, and its path in the API's proxy."""

    url: str
    proxied: str


def of_pod(pod: Resource, port: int) -> HttpInterface:
    """Return the interface at a port of a pod. By its address: name servers may be lost with the same node."""
    namespace, name = names.metadata(pod)
    address = pod.get("status", {}).get("podIP", "")
    host = f"[{address}]" if ":" in address else address
    return HttpInterface(
        f"http://{host}:{port}" if host else "", f"/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy"
    )


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
        if not place.url:
            raise Unreachable(f"{place.proxied}: the pod has no address yet")
        try:
            async with self._session.get(place.url + path, headers=headers, timeout=_timeout(stream)) as response:
                if response.status != 200:
                    kind = Unauthorized if response.status == 401 else Unreachable
                    raise kind(f"{place.url}{path} answered {response.status}")
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{place.url}: {str(error) or type(error).__name__}") from None

    async def post(self, place: HttpInterface, path: str, token: str, content: bytes) -> Reply:
        """Send JSON. Raises Unreachable."""
        if not place.url:
            raise Unreachable(f"{place.proxied}: the pod has no address yet")
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        try:
            async with self._session.post(
                place.url + path, data=content, headers=headers, timeout=_timeout(stream=False), allow_redirects=False
            ) as response:
                return Reply(response.status, await response.content.read(_MOST_REPLY_BYTES))
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
            kind = Unauthorized if error.status == 401 else Unreachable
            raise kind(f"{place.proxied}: {error}") from None

    async def post(self, place: HttpInterface, path: str, token: str, content: bytes) -> Reply:
        """Raise Unreachable: the API server uses the header that would carry the token."""
        del path, token, content
        raise Unreachable(f"{place.proxied}: an operator outside the cluster can only read; use `hanas switchover`")


def session() -> aiohttp.ClientSession:
    """Return a session for `DirectReach`. It limits no connections: each overseer of each cluster keeps one."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


Reach = DirectReach | ProxiedReach
"""Access to HTTP interfaces."""


def _timeout(stream: bool) -> aiohttp.ClientTimeout:
    if stream:
        return aiohttp.ClientTimeout(total=None, sock_connect=ANSWER_SECONDS, sock_read=SILENCE_SECONDS)
    return aiohttp.ClientTimeout(total=ANSWER_SECONDS)
