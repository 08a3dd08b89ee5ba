"""The history of operations: requests, answers and their times, which a checker judges.

A history is a file of JSON lines, one operation a line, in any order:

    {"start":12.25,"end":12.75,"client":"c1","kind":"put","key":"k","value":"v7","outcome":"ok","version":"2-1042"}

Fields with their default value are omitted. Times are seconds of the monotonic clock of one machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path

import msgspec

ANY = "*"
"""In a condition: any version."""


class Action(Enum):
    """The kind of a request."""

    PUT = "put"
    GET = "get"
    DELETE = "delete"


class OperationOutcome(Enum):
    """The outcome of a request."""

    OK = "ok"
    """Done: a write, a delete of an existing key, a read of an existing value."""
    ABSENT = "absent"
    """404: the key does not exist."""
    REFUSED = "refused"
    """412: the condition did not hold."""
    NOT_DONE = "not-done"
    """It had no effect: refused before the write (507, 4xx), or never sent."""
    UNKNOWN = "unknown"
    """It may have an effect, now, later or never: no answer, a time-out, outcome unknown."""


class Operation(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One request of a client with all its attempts. A history has no stale reads."""

    start: float
    """The time of sending, seconds; its effect is not earlier."""
    end: float | None = None
    """The time of its answer, seconds; None: no answer came."""
    client: str = ""
    kind: Action
    key: str
    value: str | None = None
    """The value of a put or a get: the text, or its digest. Different values for all puts make the check stronger.
    None of a get with the outcome OK: a list showed that the key exists, and its version."""
    outcome: OperationOutcome
    version: str | None = None
    """The version (`epoch-sequence`) in the answer: of the write, of the value of a read, or of the value that failed a
    condition."""
    created: bool | None = None
    """Of a put: whether the key is new (201) or not (204)."""
    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None
    idempotency_key: str | None = None
    """Requests with one idempotency key and the same content have their effect at most once."""

    def __str__(self) -> str:
        """One line for people."""
        conditions = "".join(
            f" {name} {','.join(versions)}"
            for name, versions in (("if-match", self.if_match), ("if-none-match", self.if_none_match))
            if versions is not None
        )
        written = f" {self.value}" if self.kind is Action.PUT else ""
        result = f" {self.value}" if self.kind is Action.GET and self.value is not None else ""
        version = f" version {self.version}" if self.version else ""
        created = {None: "", True: " created", False: " replaced"}[self.created]
        end = "…" if self.end is None else f"{self.end:.6f}"
        who = f"{self.client}: " if self.client else ""
        return (
            f"[{self.start:.6f}, {end}] {who}{self.kind.value} {self.key}{written}{conditions}"
            f" → {self.outcome.value}{result}{version}{created}"
        )


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Operation)


def encode(operation: Operation) -> bytes:
    """Return the line of an operation, with its newline."""
    return _encoder.encode(operation) + b"\n"


def write(path: Path, operations: Iterable[Operation]) -> None:
    """Write a history. Raises OSError."""
    with path.open("wb") as file:
        file.writelines(encode(operation) for operation in operations)


def read(path: Path) -> Iterator[Operation]:
    """Yield the operations of a history. Raises OSError, or ValueError with the number of an invalid line."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield _decoder.decode(line)
            except msgspec.DecodeError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
