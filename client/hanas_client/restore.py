"""`hanas restore FOLDER ARCHIVE`: an empty folder gets the keys of an archive, all of them or none.

The keys are written below a hidden name of the folder first. When the archive was read to its end and is what its
checksum says, that gets another name, and its parts are moved to their places: `cluster.json`, without which nobody
uses the folder, last. So it may be repeated after a crash at any moment.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import msgspec

from hanas_client import places
from hanas_client.encryption import opened
from hanas_client.errors import HanasError
from hanas_client.progress import Progress
from hanas_core.members import cluster
from hanas_core.upkeep.archive import Item, head_of, read_items
from hanas_core.upkeep.restoring import Restoration
from hanas_core.volume import blocking, fitness, names
from hanas_core.volume.errors import Sealed
from hanas_core.volume.folder import BLOCK_BYTES
from hanas_core.volume.posix import PosixFolder

_BEGUN, _DONE = ".restore", ".restored"
"""Where the keys are written to, and the name of it when it is whole."""
_IGNORED = frozenset({"lost+found"})
_SEGMENT_BYTES, _LEAST_SEGMENT_BYTES = 32 << 20, 2 << 20
_PIECE_BYTES, _PIECE_KEYS = 4 << 20, 1024
"""What is written at once."""


class Restored(msgspec.Struct, frozen=True, rename="camel"):
    """What was restored, for machines."""

    folder: str
    folder_id: str
    keys: int | None = None
    """None: an earlier command had read the whole archive."""
    revision: int | None = None


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("folder", metavar="FOLDER", help="the shared folder, mounted and empty; nothing may run on it")
    parser.add_argument(
        "file", metavar="FILE", nargs="?", default=places.STANDARD, help="the archive (-: standard input)"
    )
    parser.add_argument("--folder-id", metavar="ID", help="id that the folder gets: if it has it already, all is done")
    parser.add_argument("--report", metavar="FILE", help="write what was restored to FILE, as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Restore. Raises HanasError, BadArchive, FolderError, OSError, ValueError."""
    if arguments.folder_id is not None and not names.is_nonce(arguments.folder_id):
        raise ValueError("--folder-id must be 16 to 64 lower-case hexadecimal digits")
    restored = _restored(Path(arguments.folder), arguments)
    content = msgspec.json.encode(restored).decode()
    if arguments.report is not None:
        Path(arguments.report).write_text(content, encoding="utf-8")
    if arguments.json:
        print(content)
    elif restored.keys is None:
        print(f"{arguments.folder} was restored before, as the folder {restored.folder_id}")
    else:
        print(f"{arguments.folder} has {restored.keys} keys and the id {restored.folder_id}; start an overseer on it")


def _restored(path: Path, arguments: argparse.Namespace) -> Restored:
    folder, expected = PosixFolder(path), arguments.folder_id
    keys = revision = None
    if not (path / names.CLUSTER).exists():
        if (path / _DONE).exists():
            _require(_id_of(path / _DONE), expected, f"{path} is half restored as the HANas folder")
        else:
            keys, revision = _fill(path, folder, arguments.file, expected)
        _move(path, folder)
    elif expected is None:
        raise HanasError(f"{path} is a HANas folder already, and is left as it is: restore into an empty one")
    else:
        _require(_id_of(path), expected, f"{path} is left as it is, for it is already the HANas folder")
    shutil.rmtree(path / _DONE, ignore_errors=True)
    return Restored(os.path.abspath(path), _id_of(path), keys, revision)


def _require(folder_id: str, expected: str | None, words: str) -> None:
    if folder_id != expected:
        raise HanasError(f"{words} {folder_id}: restore into an empty one, or name this one with --folder-id")


def _id_of(path: Path) -> str:
    return blocking.run(cluster.identify(PosixFolder(path))).folder_id


def _fill(path: Path, folder: PosixFolder, archive: str, folder_id: str | None) -> tuple[int, int]:
    """Write all keys of an archive below a hidden name, checked; return their number and the revision."""
    strange = sorted(name for name in os.listdir(path) if name not in _IGNORED and not name.startswith("."))
    if strange:
        raise HanasError(f"{path} is not empty ({', '.join(strange[:3])}): restore into an empty folder")
    try:
        fitness.require(blocking.run(fitness.Examination(folder, folder, fitness.hidden(), time.monotonic).run()))
    except fitness.Unfit as failure:
        raise HanasError(f"{path} is unfit: {failure}") from None
    begun, progress = path / _BEGUN, Progress("restored")
    shutil.rmtree(begun, ignore_errors=True)
    blocking.run(folder.make_directory(_BEGUN))
    try:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with places.reading(archive) as source:
            lines = iter(source)
            first = next(lines, b"")
            head = head_of(first)
            revision, leases = head.store_revision, head.leases
            begin = Restoration.begin(
                *(opened(begun), folder_id, _segment_bytes(), now, time.monotonic),
                0 if isinstance(revision, msgspec.UnsetType) else revision,
                () if isinstance(leases, msgspec.UnsetType) else leases,
            )
            restoration = blocking.run(begin)
            for piece in _pieces(read_items(chain([first], lines))):
                blocking.run(restoration.add(piece))
                for item in piece:
                    progress.add(len(item.value))
        written = blocking.run(restoration.finish())
    except Sealed:
        raise HanasError(f"{path} is in use by somebody else: nothing may run on it") from None
    except BaseException:
        shutil.rmtree(begun, ignore_errors=True)
        raise
    progress.report(end="\n")
    begun.rename(path / _DONE)
    blocking.run(folder.sync_directory(""))
    return progress.keys, written


def _segment_bytes() -> int:
    text = os.environ.get("HANAS_SEGMENT_BYTES", str(_SEGMENT_BYTES))
    if not text.isdecimal() or int(text) % BLOCK_BYTES or int(text) < _LEAST_SEGMENT_BYTES:
        raise ValueError(f"HANAS_SEGMENT_BYTES={text}: must be a multiple of 4096, and 2 MiB or more")
    return int(text)


def _pieces(items: Iterator[Item]) -> Iterator[list[Item]]:
    piece: list[Item] = []
    size = 0
    for item in items:
        piece.append(item)
        size += len(item.value)
        if size >= _PIECE_BYTES or len(piece) == _PIECE_KEYS:
            yield piece
            piece, size = [], 0
    yield piece


def _move(path: Path, folder: PosixFolder) -> None:
    """Give the parts their places, `cluster.json` last."""
    done = path / _DONE
    for directory in names.DIRECTORIES:
        if (done / directory).exists():
            (done / directory).rename(path / directory)
    blocking.run(folder.sync_directory(""))
    (done / names.CLUSTER).rename(path / names.CLUSTER)
    blocking.run(folder.sync_directory(""))
