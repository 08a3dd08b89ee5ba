"""`hanas adopt FOLDER`: makes a copied folder a cluster of its own."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import msgspec

from hanas_client import fsck
from hanas_client.encryption import opened
from hanas_client.errors import HanasError
from hanas_core.members import adoption, cluster
from hanas_core.volume import blocking

_WATCH_SECONDS = 5.0
"""More than two intervals at which members show themselves, of the more patient preset."""
_MOST_SECONDS = 3600


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("folder", metavar="FOLDER", help="the copied folder; nothing may run on it")
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        type=_seconds,
        default=_WATCH_SECONDS,
        help="look this long whether anybody uses it (5); more than twice HANAS_PRESENCE_INTERVAL, if that was set",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="first read everything as `hanas fsck` does, and leave a folder with errors as it is",
    )


def _seconds(text: str) -> float:
    """Return how long to look. Not to look at all would adopt a folder that is in use."""
    seconds = float(text)
    if not 0 < seconds <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"must be more than 0 and at most {_MOST_SECONDS} seconds")
    return seconds


def run(arguments: argparse.Namespace) -> None:
    """Give the folder a new id, unless somebody uses it or it shall be whole and is not.

    Raises HanasError, FolderError.
    """
    folder = opened(Path(arguments.folder))
    before = blocking.run(cluster.identify(folder)).folder_id
    signs = blocking.run(adoption.life_signs(folder))
    if any(signs):
        print(f"looking for {arguments.watch:g} s whether anybody uses the folder", file=sys.stderr)
        time.sleep(arguments.watch)
    later = blocking.run(adoption.life_signs(folder))
    if signs != later:
        moved = next(new for old, new in zip([*signs, *[None] * len(later)], later, strict=False) if old != new)
        who = "a member that has just joined" if moved is None else moved[0]
        raise HanasError(f"{arguments.folder} is in use by {who}: stop every worker on it, or adopt a copy of it")
    if arguments.check and (errors := fsck.errors(folder)):
        print("\n".join(errors), file=sys.stderr)
        raise HanasError(
            f"{arguments.folder} is left as it is, since it is not whole: take another copy, or adopt this one without "
            "--check and lose what is missing"
        )
    adopted = blocking.run(adoption.adopt(folder))
    document = {"folder": os.path.abspath(arguments.folder), "folderId": adopted.folder_id, "formerId": before}
    if arguments.json:
        print(msgspec.json.encode(document).decode())
    else:
        print(f"{arguments.folder} has the id {adopted.folder_id} now and knows no member; start an overseer on it")
