"""The control of a lab from another terminal: lines of JSON over a TCP connection on the loopback interface.

A request is one line `{"token", "command", "arguments"}`, the answer one line `{"result"}` or `{"error"}`.
The port and a random token are in `lab.json` in the lab's directory, readable by its owner only. A request
without the token (of a browser, of another user) ends the connection.
"""

from __future__ import annotations

import asyncio
import hmac
import inspect
import os
import secrets
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import msgspec

from hanas_lab.cluster import Lab
from hanas_lab.faults import LabError

FILE = "lab.json"
HOST = "127.0.0.1"
# Longer than the lab waits for a worker to become ready.
ANSWER_SECONDS = 60.0
CONNECT_SECONDS = 2.0


class Address(msgspec.Struct, frozen=True):
    """The content of `lab.json`: the address of a lab."""

    pid: int
    port: int
    token: str


class Request(msgspec.Struct, frozen=True):
    """One command for the lab. The names in `arguments` are those of `Control`'s methods' parameters."""

    token: str
    command: str
    arguments: dict[str, Any] = {}


class Control:
    """The server in the lab; it listens while the context is entered."""

    def __init__(self, lab: Lab) -> None:
        self._token = secrets.token_hex(16)
        self._server: asyncio.Server | None = None
        self._file = lab.directory / FILE
        self._commands: dict[str, Callable[..., Any]] = {
            "kill": lab.kill,
            "stop": lab.pause,
            "cont": lab.resume,
            "start": lab.start_worker,
            "add": lab.add_worker,
            "cut": lab.cut,
            "heal": lab.heal,
            "status": lab.status,
        }

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, 0)
        port = self._server.sockets[0].getsockname()[1]
        content = msgspec.json.encode(Address(os.getpid(), port, self._token))
        self._file.unlink(missing_ok=True)
        with os.fdopen(os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content + b"\n")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._file.unlink(missing_ok=True)
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = msgspec.json.decode(await reader.readline(), type=Request)
            if hmac.compare_digest(request.token.encode(), self._token.encode()):
                writer.write(msgspec.json.encode(await self._answer(request)) + b"\n")
                await writer.drain()
        except (msgspec.DecodeError, ValueError, OSError, asyncio.CancelledError):
            pass  # another protocol, or a closed connection; asyncio would log a cancelled handler as an error
        finally:
            writer.close()

    async def _answer(self, request: Request) -> dict[str, Any]:
        command = self._commands.get(request.command)
        if command is None:
            return {"error": f"the lab knows no command {request.command!r}"}
        try:
            result = command(**request.arguments)
            return {"result": await result if inspect.isawaitable(result) else result}
        except LabError as error:
            return {"error": str(error)}
        except TypeError:
            return {"error": f"those are not the arguments of {request.command!r}"}


def command(directory: str | Path, name: str, /, **arguments: Any) -> Any:
    """Send a command to the lab in `directory` and return its result. Raises LabError, also without a lab."""
    absent = f"no lab runs in {directory}; start one with: hanas lab --directory {directory}"
    try:
        address = msgspec.json.decode((Path(directory) / FILE).read_bytes(), type=Address)
    except (OSError, msgspec.DecodeError):
        raise LabError(absent) from None
    try:
        with socket.create_connection((HOST, address.port), CONNECT_SECONDS) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.sendall(msgspec.json.encode(Request(address.token, name, arguments)) + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
    except TimeoutError:
        raise LabError(f"the lab in {directory} does not answer; is its process {address.pid} stopped?") from None
    except OSError:
        raise LabError(absent) from None
    try:
        answer = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError:
        raise LabError(f"what listens on port {address.port} is not the lab of {directory}") from None
    if "error" in answer:
        raise LabError(str(answer["error"]))
    return answer.get("result")
