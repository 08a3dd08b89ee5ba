"""What clients asked and were told, and when: the history that a checker judges.

A history is a file of JSON lines, one operation a line, in any order:

    {"start":12.25,"end":12.75,"client":"c1","kind":"put","key":"k","value":"v7","outcome":"ok","version":"2-1042"}

Fields with their default are left out. Times are seconds of one monotonic clock, which processes of one machine share.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path

import msgspec

ANY = "*"
"""In a condition: any version at all."""


class Kind(Enum):
    """What was asked."""

    PUT = "put"
    GET = "get"
    DELETE = "delete"


class Outcome(Enum):
    """What was answered."""

    OK = "ok"
    """Done: a write, a delete of a key that was there, a read that found a value."""
    ABSENT = "absent"
    """404: there is no such key."""
    REFUSED = "refused"
    """412: the condition did not hold."""
    NOT_DONE = "not-done"
    """It certainly had no effect: refused before anything was written (507, 4xx), or never sent."""
    UNKNOWN = "unknown"
    """It may have had its effect, may have it later, or never: no answer, a time-out, outcome unknown."""


class Operation(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One request of a client, or all tries of it. Reads marked as stale do not belong into a history."""

    start: float
    """When it was sent, seconds; nobody can have seen its effect before."""
    end: float | None = None
    """When its answer was there, seconds; None: no answer came."""
    client: str = ""
    kind: Kind
    key: str
    value: str | None = None
    """What a put writes or a get found: the text, or a digest of it. It helps if no two puts write the same."""
    outcome: Outcome
    version: str | None = None
    """The version (`epoch-sequence`) that the answer named: of the write, of the value found, of what stood in the
    way of a condition."""
    created: bool | None = None
    """Of a put: the answer said that the key was not there before (201), or that it was (204)."""
    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None
    idempotency_key: str | None = None
    """Requests with one idempotency key (and the same content) have their effect once at most."""

    def __str__(self) -> str:
        """One line for people."""
        conditions = "".join(
            f" {name} {','.join(versions)}"
            for name, versions in (("if-match", self.if_match), ("if-none-match", self.if_none_match))
            if versions is not None
        )
        written = f" {self.value}" if self.kind is Kind.PUT else ""
        found = f" {self.value}" if self.kind is Kind.GET and self.value is not None else ""
        version = f" version {self.version}" if self.version else ""
        created = {None: "", True: " created", False: " replaced"}[self.created]
        end = "…" if self.end is None else f"{self.end:.6f}"
        who = f"{self.client}: " if self.client else ""
        return (
            f"[{self.start:.6f}, {end}] {who}{self.kind.value} {self.key}{written}{conditions}"
            f" → {self.outcome.value}{found}{version}{created}"
        )


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Operation)


def encode(operation: Operation) -> bytes:
    """Return the operation's line, with its newline."""
    return _encoder.encode(operation) + b"\n"


def write(path: Path, operations: Iterable[Operation]) -> None:
    """Write a history. Raises OSError."""
    with path.open("wb") as file:
        file.writelines(encode(operation) for operation in operations)


def read(path: Path) -> Iterator[Operation]:
    """Yield the operations of a history. Raises OSError, or ValueError that names the line that is none."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield _decoder.decode(line)
            except msgspec.DecodeError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
