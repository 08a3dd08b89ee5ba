"""What a check of a folder finds: *errors*, bytes that are not as written, and *notes*, which the protocol allows."""

from collections.abc import Iterable
from typing import Literal, TypeVar

import msgspec

from hanas_core.volume.blocks import HEAD_BYTES, Blank, parse, unpack
from hanas_core.volume.errors import Corruption

T = TypeVar("T", bound=msgspec.Struct)
_MOST_KEYS = 100


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it was written."""

    severity: Literal["error", "note"]
    name: str
    """The file, relative to the folder."""
    offset: int | None
    """Where in it, bytes; None: it is about the whole file."""
    what: str
    keys: tuple[str, ...] = ()
    """Keys whose present value is touched, as far as that is known; 100 at most."""


class FolderReport(msgspec.Struct, rename="camel"):
    """What was read and what was found."""

    findings: list[Finding] = []
    epoch: int = 0
    """The newest epoch that served."""
    segments: int = 0
    batches: int = 0
    records: int = 0
    keys: int = 0
    log_bytes: int = 0
    """Of all segments that were read."""

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    def error(self, name: str, offset: int | None, what: str, keys: Iterable[str] = ()) -> None:
        """Take note of something that must not be."""
        self.findings.append(Finding("error", name, offset, what, tuple(keys)[:_MOST_KEYS]))

    def note(self, name: str, offset: int | None, what: str, keys: Iterable[str] = ()) -> None:
        """Take note of something that may be."""
        self.findings.append(Finding("note", name, offset, what, tuple(keys)[:_MOST_KEYS]))

    def block(self, block: bytes, name: str, offset: int) -> bytes | None:
        """Check a block that stands at ``offset`` of ``name``; return its payload, None if it is zero or damaged."""
        payload = unpack(block)
        if isinstance(payload, Blank):
            if payload is Blank.ROTTEN:
                self.error(name, offset, "this block is damaged")
            return None
        self.zeros(block[HEAD_BYTES + len(payload) :], name, offset + HEAD_BYTES + len(payload))
        return payload

    def struct(self, block: bytes, name: str, offset: int, kind: type[T]) -> T | None:
        """Check a block that holds JSON; return what it says, None if it is zero or damaged."""
        payload = self.block(block, name, offset)
        try:
            return None if payload is None else parse(payload, kind, name, offset)
        except Corruption:
            self.error(name, offset, f"this block holds no {kind.__name__}")
            return None

    def zeros(self, content: bytes, name: str, offset: int) -> None:
        """Check that there is nothing but zeros."""
        rest = content.lstrip(b"\0")
        if rest:
            self.error(name, offset + len(content) - len(rest), "there should be zeros")
