"""Where archives lie: files, standard streams, and objects in S3.

An archive gets its name when it is whole, and durably so. Of an export that fails nothing is left.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from hanas_client import s3
from hanas_client.errors import HanasError

STANDARD = "-"
_DATED = re.compile(r"(?P<series>.+)-[0-9]{10,}\.hanas")


class Sink(Protocol):
    """Takes bytes."""

    def write(self, content: bytes, /) -> object:
        """Take all of it."""


class Target:
    """An archive that is being written."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.size = 0
        """Bytes so far."""

    def write(self, content: bytes) -> None:
        """Append to it."""
        self._sink.write(content)
        self.size += len(content)


@contextmanager
def writing(place: str) -> Iterator[Target]:
    """Yield the archive at `place`, which is there when this ends without an error. Raises OSError, HanasError."""
    if place == STANDARD:
        yield Target(sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    if s3.is_s3(place):
        with s3.writing(place) as writer:
            yield Target(writer)
        return
    path = Path(place)
    if path.exists() and not path.is_file():  # a device or a FIFO
        with path.open("wb") as file:
            yield Target(file)
        return
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            yield Target(file)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    _sync(path.parent)


@contextmanager
def reading(place: str) -> Iterator[Iterable[bytes]]:
    """Yield the lines of the archive at `place`. Raises OSError, HanasError."""
    if place == STANDARD:
        yield standard_input()
        return
    if s3.is_s3(place):
        with s3.reading(place) as lines:
            yield lines
        return
    with Path(place).open("rb") as file:
        yield file


def standard_input() -> BinaryIO:
    """Return standard input. Raises HanasError if the program was started without."""
    if sys.stdin is None:
        raise HanasError("standard input is closed: name a file, or send the data to this command")
    return sys.stdin.buffer


def series_of(place: str) -> str:
    """Return what the archives of a series have in common: the name before the date. Raises ValueError."""
    match = _DATED.fullmatch(place.rpartition("/")[2])
    if match is None:
        raise ValueError(f"{place}: --keep is for names such as nightly-20261127120000.hanas, with the date at the end")
    return match["series"]


def prune(place: str, keep: int) -> list[str]:
    """Remove all archives of the series of `place` but the newest `keep`; return their names.

    Raises OSError, HanasError.
    """
    series = series_of(place)
    if s3.is_s3(place):
        older = _older(s3.names_beside(place), series, keep)
        s3.remove_beside(place, older)
        return older
    directory = Path(place).parent
    older = _older(os.listdir(directory), series, keep)
    for name in older:
        (directory / name).unlink(missing_ok=True)
    for leftover in directory.glob(f".{series}-*.part"):
        leftover.unlink(missing_ok=True)
    _sync(directory)
    return older


def _older(present: Iterable[str], series: str, keep: int) -> list[str]:
    return sorted(name for name in present if _is_of(name, series))[:-keep]


def _is_of(name: str, series: str) -> bool:
    match = _DATED.fullmatch(name)
    return match is not None and match["series"] == series


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
