"""`hanas export --folder FOLDER`: an archive of one revision, read from the folder beside a running cluster."""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from pathlib import Path

import msgspec

from hanas_client import places
from hanas_client.encryption import opened
from hanas_client.errors import HanasError
from hanas_client.progress import Progress
from hanas_core.log.positions import Position
from hanas_core.members import cluster
from hanas_core.upkeep.archive import FORMAT, ArchiveWriter, Head
from hanas_core.upkeep.copying import Commitment, FolderCopy
from hanas_core.volume import blocking
from hanas_core.volume.errors import Missing
from hanas_core.volume.posix import PosixFolder

_LOOK_SECONDS = 0.1
_WAIT_SECONDS = 60.0
"""Many times the interval at which a main shows itself."""
_TRIES = 10
"""How often compaction may remove a segment just before it is opened."""


class Exported(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What was exported, for machines."""

    file: str
    keys: int
    value_bytes: int
    size: int
    """Of the archive, bytes."""
    checksum: str
    revision: int
    epoch: int
    folder_id: str
    removed: int = 0
    """How many older archives were removed."""


def export(arguments: argparse.Namespace) -> None:
    """Write the archive. Raises HanasError, FolderError, OSError, ValueError."""
    if arguments.keep is not None:
        places.series_of(arguments.file)
    _allow_many_files()
    folder = opened(Path(arguments.folder))
    identity = blocking.run(cluster.identify(folder, os.environ.get("HANAS_FOLDER_ID") or None))
    copy = _copy(folder, arguments.folder)
    progress = Progress("exported")
    with places.writing(arguments.file) as target:
        head = Head(
            FORMAT,
            "",
            copy.revision,
            copy.applied.epoch,
            identity.folder_id,
            copy.store_revision,
            copy.leases or msgspec.UNSET,
        )
        writer = ArchiveWriter(target.write, head)
        while items := blocking.run(copy.take()):
            for item in items:
                writer.add(item)
                progress.add(len(item.value))
        tail = writer.finish()
    progress.report(end="\n")
    removed = [] if arguments.keep is None else places.prune(arguments.file, arguments.keep)
    exported = Exported(
        file=arguments.file,
        keys=tail.keys,
        value_bytes=tail.bytes,
        size=target.size,
        checksum=tail.checksum,
        revision=copy.revision,
        epoch=copy.applied.epoch,
        folder_id=identity.folder_id,
        removed=len(removed),
    )
    print(f"revision {exported.revision}, checksum {exported.checksum}", file=sys.stderr)
    if arguments.report is not None:
        Path(arguments.report).write_bytes(msgspec.json.encode(exported))


def _copy(folder: PosixFolder, name: str) -> FolderCopy:
    """Return the keys as they are at some moment after this call."""
    for _ in range(_TRIES):
        copy = FolderCopy(folder)
        try:
            blocking.run(copy.read(_committed(folder, name)))
        except Missing:
            continue
        return copy
    raise HanasError(f"{name}: each of {_TRIES} times a segment was removed before it could be opened; try again")


def _committed(folder: PosixFolder, name: str) -> Position:
    commitment, ends_at = Commitment(folder), time.monotonic() + _WAIT_SECONDS
    while (position := blocking.run(commitment.look())) is None:
        if time.monotonic() > ends_at:
            raise HanasError(
                f"{name}: no main has shown itself there for {_WAIT_SECONDS:.0f} s: is the cluster running, and has it "
                "a main? Start a worker on the folder"
            )
        time.sleep(_LOOK_SECONDS)
    return position


def _allow_many_files() -> None:
    """Each segment is one open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
