"""HTTP to the other processes of a cluster: the one place for the secret, connections and the look-up of names."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import cast
from urllib.parse import urlsplit

import aiohttp

from hanas_serving import principals
from hanas_serving.lines import Wire
from hanas_serving.runtime import Agree, Declined
from hanas_worker.neighbours.addresses import LastKnown
from hanas_worker.neighbours.authenticity import MAC_HEADER, NONCE_HEADER

_MEMBER_HEADER = "HANas-Member"
_MOST_BYTES = 1 << 20
"""Overseers and members answer with less."""
_HTTPS = "https://"


class HttpOutbound:
    """`hanas_serving.runtime.Outbound` on sockets. It belongs to the event loop."""

    def __init__(self, member: str, secrets: Sequence[str], trust: Callable[[], ssl.SSLContext] | None = None) -> None:
        """Speak as ``member`` with the first of ``secrets``. Needs a running event loop.

        ``trust``: returns the context of a new connection by TLS; None: the system's.
        """
        self._member = member
        self._secrets = secrets
        self._trust = trust or ssl.create_default_context
        self._resolver = LastKnown(aiohttp.ThreadedResolver())
        # An established connection survives many network policies, and would hide that the link is cut.
        connector = aiohttp.TCPConnector(force_close=True, limit=0, use_dns_cache=False, resolver=self._resolver)
        self._session = aiohttp.ClientSession(connector=connector, headers={"Content-Type": "application/json"})

    def _own(self) -> dict[str, str]:
        """Return the headers of every request."""
        return {_MEMBER_HEADER: self._member, **principals.bearer(self._secrets)}

    async def post(
        self, url: str, body: bytes, timeout: float, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Send JSON on a fresh connection; return status and body of the answer. Raises OSError."""
        limit, everything = aiohttp.ClientTimeout(total=timeout), {**self._own(), **(headers or {})}
        secure = self._trust() if url.startswith(_HTTPS) else True
        try:
            async with self._session.post(
                url, data=body, timeout=limit, headers=everything, ssl=secure, allow_redirects=False
            ) as response:
                content = bytearray()
                async for piece in response.content.iter_any():
                    content += piece
                    if len(content) > _MOST_BYTES:
                        raise ConnectionError(f"{url}: the answer has more than {_MOST_BYTES} bytes")
                return response.status, bytes(content)
        except (aiohttp.ClientError, ValueError) as error:  # or the address is none
            raise ConnectionError(f"{url}: {error}") from error

    async def until_closed(self, url: str, timeout: float, headers: Mapping[str, str]) -> None:
        """Return as soon as an idle connection to ``url`` is closed. Raises OSError if there is none."""
        async with self._asked(url, timeout, headers, 204) as (_, reader, _):
            with contextlib.suppress(OSError):
                await reader.read(1)  # nothing more is ever said

    async def line(self, url: str, timeout: float, headers: Mapping[str, str], agree: Agree, *, connect: float) -> None:
        """Open a line at ``url`` and return when it has ended. Raises OSError if there is none."""
        async with self._asked(url, timeout, headers, 101, connect) as (fields, _, writer):
            wire = Wire(*agree(fields.get(NONCE_HEADER.lower(), ""), fields.get(MAC_HEADER.lower(), "")))
            transport = cast("asyncio.Transport", writer.transport)
            transport.set_protocol(wire)
            wire.connection_made(transport)
            try:
                await wire.ended.wait()
            finally:
                wire.close()

    @contextlib.asynccontextmanager
    async def _asked(
        self, url: str, timeout: float, headers: Mapping[str, str], status: int, connect: float | None = None
    ) -> AsyncIterator[tuple[dict[str, str], asyncio.StreamReader, asyncio.StreamWriter]]:
        """Send a GET on a connection of its own; yield the headers of an answer with ``status``, and the connection.

        ``timeout``: seconds for all of it; ``connect``: ... for the connection. Raises OSError. Without aiohttp, which
        does not report that a pooled connection was closed.
        """
        try:
            parts = urlsplit(url)
            secure = self._trust() if url.startswith(_HTTPS) else None
            host, port = (parts.hostname or "").encode("idna").decode(), parts.port or (80 if secure is None else 443)
        except ValueError as error:
            raise ConnectionError(f"{url}: {error}") from error
        lines = "".join(f"{name}: {value}\r\n" for name, value in {**self._own(), **headers}.items())
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.timeout(timeout):
                addresses = await self._resolver.resolve(host, port, socket.AF_UNSPEC)
                async with asyncio.timeout(connect):  # of the kernels alone: a program without time accepts it later
                    reader, writer = await asyncio.open_connection(addresses[0]["host"], addresses[0]["port"])
                stack.callback(writer.close)
                if secure is not None:
                    await writer.start_tls(secure, server_hostname=host)
                writer.write(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{lines}\r\n".encode())
                try:
                    answer = await reader.readuntil(b"\r\n\r\n")
                except (EOFError, asyncio.LimitOverrunError) as error:
                    raise ConnectionError(f"{url}: {error}") from error
            if not answer.startswith(b"HTTP/1.1 ") or not (digits := answer[9:12]).isdigit():
                raise ConnectionError(f"{url}: {answer[:40]!r}")
            if int(digits) != status:
                raise Declined(url, int(digits))
            pairs = (line.partition(":") for line in answer.decode("latin-1").split("\r\n")[1:] if line)
            yield {name.lower(): value.strip() for name, _, value in pairs}, reader, writer

    async def close(self) -> None:
        """Cancel what is under way."""
        await self._session.close()
        await self._resolver.close()
