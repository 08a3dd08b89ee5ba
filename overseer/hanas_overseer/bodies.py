"""Bodies of the two calls: read with a limit, decoded, and refused with a sentence that says what to send."""

import asyncio
from typing import TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from hanas_core.epochs.arbitration import Arrival, Challenge
from hanas_core.members.documents import Report
from hanas_serving.problems import Problem

MOST_BYTES = 64 * 1024
MOST_SECONDS = 10.0
"""A body that takes longer to come is given up."""
B = TypeVar("B", Arrival, Challenge, Report)

_SHAPES = {
    Arrival: "a JSON object with the strings member, incarnation, folderId, advertiseUrl and linkUrl",
    Challenge: (
        "a JSON object with the strings member, incarnation, folderId and verdict, "
        'expected as {"epoch": number, "main": string}, and evidence (any JSON)'
    ),
    Report: "a JSON object with the strings member, incarnation, folderId and verdict, and the list alerts",
}


async def read(request: Request) -> bytes:
    """Return the body. Raises Problem 413 if it is too long, 408 if it comes too slowly, 400 if it breaks off."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > MOST_BYTES:
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
            408, f"the body did not come within {MOST_SECONDS:g} s; nothing was done; send it again"
        ) from None
    except ClientDisconnect:
        raise Problem(400, "the body broke off; nothing was done; send the whole body") from None
    return bytes(content)


def _too_long() -> Problem:
    return Problem(413, f"the body may have at most {MOST_BYTES} bytes; shorten the evidence")


def decode(body: bytes, kind: type[B]) -> B:
    """Return the body as ``kind``. Raises Problem 400 that says what is wrong with it."""
    try:
        content = msgspec.json.decode(body, type=kind)
        if isinstance(content, Challenge):
            msgspec.json.decode(content.evidence)  # kept for ever: it must be sound JSON all through
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, f"{error}; send {_SHAPES[kind]}") from None
    return content
