"""`hanas export` and `hanas import`: all keys as lines of JSON, which other tools can read.

    {"hanas": 1, "prefix": ""}
    {"key": "greeting", "version": "1-2", "contentType": "text/plain", "value": "aGVsbG8="}
    ...
    {"keys": 1, "bytes": 5}

Values are in base64. The last line proves that the archive is complete. An archive is no snapshot: others may write
during the export, and each key has the value of the moment of its own read.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import BinaryIO

import msgspec

from hanas_client.asynchronous import AsyncClient
from hanas_client.commands import connect, standard_input
from hanas_client.errors import HanasError, NotFound, PreconditionFailed

FORMAT = 1
AT_ONCE = 32
"""The most keys that are read or written at the same time."""
_REPORT_SECONDS = 1.0


class Head(msgspec.Struct, frozen=True):
    """The first line."""

    hanas: int
    prefix: str = ""


class Item(msgspec.Struct, frozen=True, rename="camel"):
    """One key with its value."""

    key: str
    value: bytes
    content_type: str = "application/octet-stream"
    version: str = ""
    """The version in the exported cluster; an import assigns a new one."""


class Tail(msgspec.Struct, frozen=True):
    """The last line."""

    keys: int
    bytes: int


class BadArchive(HanasError):
    """The file is not an archive, or is incomplete."""


class Progress:
    """Reports progress on standard error once a second; on a terminal in one line."""

    def __init__(self, verb: str) -> None:
        self.keys = self.size = 0
        self._verb = verb
        self._started = self._reported = time.monotonic()

    def add(self, size: int) -> None:
        """Count one more key, with a value of `size` bytes."""
        self.keys += 1
        self.size += size
        if time.monotonic() - self._reported >= _REPORT_SECONDS:
            self.report()

    def report(self, end: str = "") -> None:
        """Print the progress."""
        self._reported = time.monotonic()
        rate = self.keys / max(self._reported - self._started, 0.001)
        line = f"{self._verb} {self.keys} keys, {self.size} bytes, {rate:.0f} keys/s"
        if sys.stderr.isatty():
            print(f"\r{line}", end=end, file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr)


def export(arguments: argparse.Namespace) -> None:
    """Write an archive to a file or to standard output."""
    with contextlib.ExitStack() as stack:
        target = sys.stdout.buffer if arguments.file == "-" else stack.enter_context(open(arguments.file, "wb"))
        asyncio.run(_export(arguments, target))


def import_(arguments: argparse.Namespace) -> None:
    """Put the keys of an archive from a file or from standard input."""
    with contextlib.ExitStack() as stack:
        source = standard_input() if arguments.file == "-" else stack.enter_context(open(arguments.file, "rb"))
        asyncio.run(_import(arguments, source))


async def _export(arguments: argparse.Namespace, target: BinaryIO) -> None:
    progress = Progress("exported")
    _write_line(target, Head(FORMAT, arguments.prefix))
    async with connect(AsyncClient, arguments) as client:
        async for item in _items(client, arguments.prefix):
            _write_line(target, item)
            progress.add(len(item.value))
    _write_line(target, Tail(progress.keys, progress.size))
    target.flush()
    progress.report(end="\n")


async def _items(client: AsyncClient, prefix: str) -> AsyncIterator[Item]:
    """Yield all keys in order, some read ahead. A key that was deleted meanwhile is left out."""
    ahead: list[asyncio.Task[Item | None]] = []
    try:
        async for entry in client.list(prefix):
            ahead.append(asyncio.create_task(_read(client, entry.key)))
            if len(ahead) >= AT_ONCE and (item := await ahead.pop(0)) is not None:
                yield item
        while ahead:
            if (item := await ahead.pop(0)) is not None:
                yield item
    finally:
        for task in ahead:
            task.cancel()


async def _read(client: AsyncClient, key: str) -> Item | None:
    try:
        value = await client.get(key)
    except NotFound:
        return None
    return Item(key, value.value, value.content_type, value.version)


async def _import(arguments: argparse.Namespace, source: BinaryIO) -> None:
    progress, unchanged = Progress("imported"), 0
    waiting: set[asyncio.Task[bool]] = set()
    async with connect(AsyncClient, arguments) as client:
        try:
            for item in read_items(source):
                waiting.add(asyncio.create_task(_put(client, item, keep=arguments.keep)))
                progress.add(len(item.value))
                if len(waiting) >= AT_ONCE:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    unchanged += sum(not task.result() for task in done)
            unchanged += sum(not written for written in await asyncio.gather(*waiting))
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
    progress.report(end="\n")
    if unchanged:
        print(f"{unchanged} existing keys are unchanged", file=sys.stderr)


async def _put(client: AsyncClient, item: Item, *, keep: bool) -> bool:
    try:
        await client.put(item.key, item.value, item.content_type, if_none_match=keep)
    except PreconditionFailed:
        return False
    return True


def read_items(source: BinaryIO) -> Iterator[Item]:
    """Yield the keys of an archive. Raises BadArchive at an invalid line, or if the last line is missing."""
    keys = size = 0
    tail: Tail | None = None
    for number, line in enumerate(source, 1):
        if tail is not None:
            raise BadArchive(f"line {number}: something follows the last line of the archive")
        try:
            if number == 1:
                version = msgspec.json.decode(line, type=Head).hanas
                if version != FORMAT:
                    raise BadArchive(
                        f"an archive of format {version} needs another release: this one reads format {FORMAT}"
                    )
                continue
            if line.startswith(b'{"keys"'):
                tail = msgspec.json.decode(line, type=Tail)
                continue
            item = msgspec.json.decode(line, type=Item)
        except msgspec.MsgspecError as error:
            raise BadArchive(f"line {number} is not a line of an archive: {error}") from None
        keys, size = keys + 1, size + len(item.value)
        yield item
    if tail != Tail(keys, size):
        total = "nothing" if tail is None else f"{tail.keys} keys with {tail.bytes} bytes"
        content = f"{keys} keys with {size} bytes, which are imported"
        raise BadArchive(f"the archive is incomplete: {content}, and its last line says {total}")


def _write_line(target: BinaryIO, content: Head | Item | Tail) -> None:
    target.write(msgspec.json.encode(content) + b"\n")
