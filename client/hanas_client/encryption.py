"""`hanas encryption-key new FILE`, and the keys that encrypt a folder for the commands that read one."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import msgspec

from hanas_core.volume import encryption
from hanas_core.volume.encryption import NO_KEYS, Keys
from hanas_core.volume.posix import PosixFolder

_VARIABLE = "HANAS_ENCRYPTION_KEY_FILE"


def opened(path: Path) -> PosixFolder:
    """Return the folder at a path, with the keys of the file that the environment names. Raises as `keys` does."""
    folder = PosixFolder(path)
    folder.keys = keys()
    return folder


def keys() -> Keys:
    """Return those keys; none without a name. Raises OSError, ValueError."""
    name = os.environ.get(_VARIABLE)
    if not name:
        return NO_KEYS
    try:
        lines = [line.strip() for line in Path(name).read_text(encoding="utf-8").splitlines() if line.strip()]
        return encryption.parse(lines)
    except ValueError as error:  # also text that is no UTF-8
        raise ValueError(f"{_VARIABLE}={name}: {error}") from None


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    new = actions.add_parser("new", help="make a file with a new key")
    new.add_argument("file", metavar="FILE", help="must not exist yet; only its owner may read it")


def run(arguments: argparse.Namespace) -> None:
    """Make the file. Raises OSError, also if it exists."""
    descriptor = os.open(arguments.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    line = encryption.new_line()
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())
    made = encryption.parse([line]).current
    if arguments.json:
        print(msgspec.json.encode({"file": arguments.file, "key": made}).decode())
    else:
        print(f"{arguments.file} holds the key {made}; keep a copy apart from the folder")
