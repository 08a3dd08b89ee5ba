"""What a check of a folder finds: *errors*, bytes that are not as written, and *notes*, which the protocol allows."""

from collections.abc import Iterable
from itertools import islice
from typing import Literal, TypeVar

import msgspec

from hanas_core.state.keytexts import shown
from hanas_core.volume.blocks import HEAD_BYTES, Blank, parse, unpack
from hanas_core.volume.errors import Corruption, FolderError
from hanas_core.volume.folder import Folder

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
    """Keys whose present value is touched, as far as that is known; 100 at most. With escapes for what is no UTF-8."""


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

    def error(self, name: str, offset: int | None, what: str, keys: Iterable[bytes] = ()) -> None:
        """Take note of something that must not be."""
        self.findings.append(Finding("error", name, offset, what, tuple(map(shown, islice(keys, _MOST_KEYS)))))

    def note(self, name: str, offset: int | None, what: str, keys: Iterable[bytes] = ()) -> None:
        """Take note of something that may be."""
        self.findings.append(Finding("note", name, offset, what, tuple(map(shown, islice(keys, _MOST_KEYS)))))

    def strange(self, name: str) -> None:
        """Take note of a file that HANas does not make in this directory."""
        self.note(name, None, "strange: HANas makes no file of this name, and reads none")

    async def listed(self, folder: Folder, directory: str) -> list[str]:
        """Return the names in a directory, in order; none if it cannot be listed."""
        try:
            present = await folder.names(directory)
        except FolderError as error:
            self.error(directory, None, f"missing, or cannot be listed: {error}")
            return []
        for base in present:
            if base.startswith("."):
                self.note(f"{directory}/{base}", None, "left behind by a process that was killed; the main removes it")
        return [base for base in present if not base.startswith(".")]

    async def content(self, folder: Folder, name: str, length: int) -> bytes | None:
        """Return the first ``length`` bytes of a file; None if they cannot be read."""
        try:
            return await (await folder.open(name, "read")).read(0, length)
        except FolderError as error:
            self.error(name, None, f"missing, or cannot be read: {error}")
            return None

    def block(self, block: bytes, name: str, offset: int, torn: str | None = None) -> bytes | None:
        """Check a block that stands at ``offset`` of ``name``; return its payload, None if it is zero or damaged.

        ``torn``: what to note of a damaged one, where a loss of power may leave one; else that is an error.
        """
        payload = unpack(block)
        if isinstance(payload, Blank):
            if payload is Blank.ROTTEN and torn is None:
                self.error(name, offset, "this block is damaged")
            elif payload is Blank.ROTTEN:
                self.note(name, offset, f"this block {torn}")
            return None
        behind = offset + HEAD_BYTES + len(payload)
        if torn is None or not block[HEAD_BYTES + len(payload) :].rstrip(b"\0"):
            self.zeros(block[HEAD_BYTES + len(payload) :], name, behind)
        else:
            self.note(name, behind, "bytes behind the end of this block")
        return payload

    def struct(self, block: bytes, name: str, offset: int, kind: type[T], torn: str | None = None) -> T | None:
        """Check a block that holds JSON; return what it says, None if it is zero or damaged. ``torn``: see `block`."""
        payload = self.block(block, name, offset, torn)
        try:
            return None if payload is None else parse(payload, kind, name, offset)
        except Corruption as error:
            self.error(name, offset, f"this block holds no {kind.__name__}: {error}")
            return None

    def zeros(self, content: bytes, name: str, offset: int) -> None:
        """Check that there is nothing but zeros."""
        rest = content.lstrip(b"\0")
        if rest:
            self.error(name, offset + len(content) - len(rest), "there should be zeros")
