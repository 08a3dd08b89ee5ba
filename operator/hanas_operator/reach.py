"""HTTP access to overseers and workers: direct inside the cluster, else through the proxy of the API server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

import aiohttp

from hanas_operator import names
from hanas_operator.api import Api, ApiError, Resource
from hanas_operator.tls.trust import Trust, Untrusted, Where

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
    """An HTTP interface of a pod: its URL, empty while the pod has no address, and its path in the API's proxy.

    ``server``: the name that its certificate has. ``certificates``: namespace and name of the Secret that it is in;
    None: the pod speaks no TLS.
    """

    url: str
    proxied: str
    server: str = ""
    certificates: Where | None = None


def of_pod(pod: Resource, port: int) -> HttpInterface:
    """Return the interface at a port of a pod. By its address: name servers may be lost with the same node."""
    namespace, name = names.metadata(pod)
    address = pod.get("status", {}).get("podIP", "")
    host = f"[{address}]" if ":" in address else address
    pods = f"/api/v1/namespaces/{namespace}/pods"
    secret = pod["metadata"].get("annotations", {}).get(names.TLS, "")
    if not secret:
        return HttpInterface(f"http://{host}:{port}" if host else "", f"{pods}/{name}:{port}/proxy")
    url, proxied = f"https://{host}:{port}" if host else "", f"{pods}/https:{name}:{port}/proxy"
    return HttpInterface(url, proxied, _server(pod, port), (namespace, secret))


def _server(pod: Resource, port: int) -> str:
    """Return the name under which others call a pod."""
    namespace, name = names.metadata(pod)
    cluster = pod["metadata"]["labels"][names.CLUSTER]
    if port == names.OVERSEER_PORT:
        return f"{names.of(cluster, names.OVERSEER)}.{namespace}.svc"
    return f"{name}.{names.of(cluster, names.HEADLESS)}.{namespace}.svc"


class DirectReach:
    """Direct access, inside the cluster."""

    def __init__(self, session: aiohttp.ClientSession, trust: Trust) -> None:
        """Use ``session``, which stays the caller's to close. ``trust``: for pods that speak TLS."""
        self._session = session
        self._trust = trust

    @asynccontextmanager
    async def open(
        self, place: HttpInterface, path: str, token: str, *, stream: bool = False
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield the answer to ``GET path``, whose status is 200. Raises Unreachable, also while it is read."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self._call("GET", place, path, headers, stream=stream) as response:
            if response.status != 200:
                kind = Unauthorized if response.status == 401 else Unreachable
                raise kind(f"{place.url}{path} answered {response.status}")
            yield response

    async def post(self, place: HttpInterface, path: str, token: str, content: bytes) -> Reply:
        """Send JSON. Raises Unreachable."""
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        async with self._call("POST", place, path, headers, content) as response:
            return Reply(response.status, await response.content.read(_MOST_REPLY_BYTES))

    @asynccontextmanager
    async def _call(
        self,
        method: str,
        place: HttpInterface,
        path: str,
        headers: dict[str, str],
        content: bytes | None = None,
        *,
        stream: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yield an answer. Raises Unreachable, also while it is read."""
        if not place.url:
            raise Unreachable(f"{place.proxied}: the pod has no address yet")
        try:
            tls = await self._tls(place)
            async with self._session.request(
                method,
                place.url + path,
                data=content,
                headers=headers,
                timeout=_timeout(stream),
                allow_redirects=False,
                **tls,
            ) as response:
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError, Untrusted) as error:
            if place.certificates is not None:
                self._trust.drop(place.certificates)
            raise Unreachable(f"{place.url}: {str(error) or type(error).__name__}") from None

    async def _tls(self, place: HttpInterface) -> dict[str, Any]:
        """Return what a call of a pod that speaks TLS needs: it is called by its address, and has another name."""
        if place.certificates is None:
            return {}
        return {"ssl": await self._trust.context(place.certificates), "server_hostname": place.server}


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
