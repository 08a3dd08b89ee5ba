"""Request bodies: read within limits, decoded, and refused with a sentence that says what to send."""

import asyncio
from typing import Annotated, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from hanas_core.epochs.arbitration import Arrival, Challenge
from hanas_core.members.documents import Report
from hanas_serving.fields import require_json
from hanas_serving.problems import Problem

MOST_BYTES = 64 * 1024
MOST_SECONDS = 10.0
"""Time limit for the arrival of a body."""


class SignInRequest(msgspec.Struct, frozen=True):
    """Body of ``POST /v1/session``."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]


Body = TypeVar("Body", Arrival, Challenge, Report, SignInRequest)


_SHAPES = {
    Arrival: "a JSON object with the strings member, incarnation, folderId, advertiseUrl and linkUrl",
    Challenge: (
        "a JSON object with the strings member, incarnation, folderId and verdict, "
        'expected as {"epoch": number, "main": string}, and evidence (any JSON)'
    ),
    SignInRequest: "a JSON object with the string token",
    Report: "a JSON object with the strings member, incarnation, folderId and verdict, and the list alerts",
}


async def read(request: Request) -> bytes:
    """Return the body. Raises Problem 415 if it is not JSON, 413 too long, 408 too slow, 400 incomplete."""
    require_json(request.scope["headers"])
    announced = request.headers.get("content-length", "").lstrip("0")
    if len(announced) > len(str(MOST_BYTES)) or (announced.isdecimal() and int(announced) > MOST_BYTES):
        raise _too_long()
    content = bytearray()
    try:
        async with asyncio.timeout(MOST_SECONDS):
            async for piece in request.stream():
                content += piece
                if len(content) > MOST_BYTES:
                    raise _too_long()
    except TimeoutError:
        raise Problem(
            408, f"the body did not arrive within {MOST_SECONDS:g} s; nothing was done; send it again"
        ) from None
    except ClientDisconnect:
        raise Problem(400, "the body is incomplete; nothing was done; send the whole body") from None
    return bytes(content)


def _too_long() -> Problem:
    return Problem(413, f"the body may have at most {MOST_BYTES} bytes; shorten the evidence")


def decode(body: bytes, kind: type[Body]) -> Body:
    """Return the body as ``kind``. Raises Problem 400 that says what is wrong with it."""
    try:
        content = msgspec.json.decode(body, type=kind)
        if isinstance(content, Challenge):
            msgspec.json.decode(content.evidence)  # kept for ever, so all of it must be valid JSON
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, f"{error}; send {_SHAPES[kind]}") from None
    return content
