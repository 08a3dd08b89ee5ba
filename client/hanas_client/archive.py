"""`hanas export` and `hanas import`: archives of a running cluster (hanas_core.upkeep.archive).

Through the cluster's interface an archive is no snapshot: others may write during the export, and each key has the
value of the moment of its own read. From the folder it is one (hanas_client.folder_export).

An import makes plain writes, which have revisions of their own. A key that was attached to a lease is so again: the
lease begins anew with its seconds to live, and the key goes with it if nobody renews it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Iterable
from itertools import chain

import msgspec

from hanas_client import folder_export, places
from hanas_client.asynchronous import AsyncClient
from hanas_client.commands import connect
from hanas_client.errors import NoLease, NotFound, PreconditionFailed, Refused
from hanas_client.places import Target
from hanas_client.progress import Progress
from hanas_core.upkeep.archive import FORMAT, ArchiveWriter, BadArchive, Head, Item, head_of, read_items

__all__ = ["BadArchive", "Item", "configure_export", "configure_import", "read_items"]

_CONFLICT = 409
AT_ONCE = 32
"""The most keys that are read or written at the same time."""


def configure_export(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hanas export`."""
    parser.add_argument(
        "file", metavar="FILE", nargs="?", default=places.STANDARD, help="the archive (-: standard output)"
    )
    parser.add_argument("--prefix", default="", help="only keys with this prefix")
    parser.add_argument(
        "--folder", metavar="FOLDER", help="read the shared folder of a running cluster: all keys as of one revision"
    )
    parser.add_argument(
        "--keep", metavar="N", type=_count, help="with --folder: remove all older archives of the series but N - 1"
    )
    parser.add_argument("--report", metavar="FILE", help="with --folder: write what was exported to FILE, as JSON")
    parser.set_defaults(run=export)


def configure_import(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hanas import`."""
    parser.add_argument(
        "file", metavar="FILE", nargs="?", default=places.STANDARD, help="the archive (-: standard input)"
    )
    parser.add_argument("--keep", action="store_true", help="leave existing keys unchanged")
    parser.set_defaults(run=import_)


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count


def export(arguments: argparse.Namespace) -> None:
    """Write an archive to a file or to standard output."""
    if arguments.folder is not None:
        if arguments.prefix:
            raise ValueError("--prefix is for exports through the cluster, without --folder")
        folder_export.export(arguments)
        return
    if arguments.keep is not None or arguments.report is not None:
        raise ValueError("--keep and --report need --folder")
    with places.writing(arguments.file) as target:
        asyncio.run(_export(arguments, target))


def import_(arguments: argparse.Namespace) -> None:
    """Put the keys of an archive from a file or from standard input."""
    with places.reading(arguments.file) as source:
        asyncio.run(_import(arguments, source))


async def _export(arguments: argparse.Namespace, target: Target) -> None:
    progress = Progress("exported")
    writer = ArchiveWriter(target.write, Head(FORMAT, arguments.prefix))
    async with connect(AsyncClient, arguments) as client:
        async for item in _items(client, arguments.prefix):
            writer.add(item)
            progress.add(len(item.value))
    writer.finish()
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


async def _import(arguments: argparse.Namespace, source: Iterable[bytes]) -> None:
    progress, unchanged = Progress("imported"), 0
    waiting: set[asyncio.Task[bool]] = set()
    lines = iter(source)
    first = next(lines, b"")
    leases = _Leases(head_of(first)) if first else None
    async with connect(AsyncClient, arguments) as client:
        try:
            for item in read_items(chain([first] if first else [], lines)):
                if leases is not None and item.lease is not msgspec.UNSET:
                    await leases.grant(client, item)
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
    """Write a key; False if one that exists is kept. One whose lease has expired meanwhile is gone, too."""
    if not item.key:
        raise BadArchive(f"the key {item.name!r} is no UTF-8, and HTTP takes no such keys: use 'hanas restore'")
    lease = None if isinstance(item.lease, msgspec.UnsetType) else item.lease
    try:
        await client.put(item.key, item.value, item.content_type, if_none_match=keep, lease=lease)
    except PreconditionFailed:
        return False
    except NoLease:
        pass
    return True


class _Leases:
    """The leases of an archive, granted when a key needs one."""

    def __init__(self, head: Head) -> None:
        self._ttls = {} if isinstance(head.leases, msgspec.UnsetType) else dict(head.leases)
        self._granted: set[int] = set()

    async def grant(self, client: AsyncClient, item: Item) -> None:
        """Have the lease of ``item`` be there, with the same id; one that is there already stays as it is."""
        assert not isinstance(item.lease, msgspec.UnsetType)
        if item.lease in self._granted:
            return
        if item.lease not in self._ttls:
            raise BadArchive(f"the key {item.key!r} is attached to lease {item.lease}, which the archive lacks")
        try:
            await client.grant_lease(self._ttls[item.lease], item.lease)
        except Refused as refusal:
            if refusal.status != _CONFLICT:
                raise
        self._granted.add(item.lease)
