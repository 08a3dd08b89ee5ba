"""A communication folder in memory, for tests: it forgets in a crash what was not synced, fails and pauses on demand.

Several `MemoryFolder` on one `Disk` are several members on one file server: all see each other's writes at once, as on
a volume that is read past its caches, and each has its own operations, faults and interruptions.
"""

import secrets
from collections.abc import Callable, Coroutine, Generator, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple, TypeVar

from hanas_core.volume.encryption import NO_KEYS
from hanas_core.volume.errors import Corruption, FolderError, FolderUnavailable, Missing
from hanas_core.volume.folder import BLOCK_BYTES, Access, Room

T = TypeVar("T")
Then = Exception | Callable[[], object]
"""What happens at an operation: an error, or something else that runs in between."""


class Died(Exception):
    """The process that used the folder is no more."""


class Operation(NamedTuple):
    """One call. ``name`` is the file's or the directory's."""

    kind: str
    name: str
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" @{self.offset}" if self.offset else "")


@dataclass
class Content:
    """A file: what readers see, and what a crash of the server leaves."""

    visible: bytearray
    durable: bytes


@dataclass
class Directory:
    """Names, visible and durable."""

    visible: dict[str, "Content | Directory"] = field(default_factory=dict)
    durable: dict[str, "Content | Directory"] = field(default_factory=dict)

    def crash(self) -> None:
        self.visible = dict(self.durable)
        for entry in self.visible.values():
            if isinstance(entry, Directory):
                entry.crash()
            else:
                entry.visible[:] = entry.durable


class Disk:
    """What the file server holds."""

    def __init__(self) -> None:
        self.root = Directory()

    def crash(self) -> None:
        """The server loses everything that was not synced."""
        self.root.crash()

    def directory(self, name: str) -> Directory:
        if not name:
            return self.root
        found = self.root.visible.get(name)
        if not isinstance(found, Directory):
            raise Missing(f"{name}: no such directory")
        return found

    def parent(self, name: str) -> tuple[Directory, str]:
        directory, _, base = name.rpartition("/")
        return self.directory(directory), base

    def content(self, name: str) -> Content:
        """Return a file, to look at or to spoil."""
        directory, base = self.parent(name)
        found = directory.visible.get(base)
        if isinstance(found, Directory):
            raise Corruption(f"{name}: is a directory, a regular file was expected")
        if not isinstance(found, Content):
            raise Missing(f"{name}: no such file")
        return found

    def spoil(self, name: str, offset: int, content: bytes) -> None:
        """Change bytes behind everybody's back, durably."""
        file = self.content(name)
        file.visible[offset : offset + len(content)] = content
        file.durable = bytes(file.visible)


@dataclass
class _Event:
    kind: str | None
    part: str
    nth: int
    before: Then | None
    after: Then | None
    answer: bool | None


class _Turn:
    """Suspends once, so that whoever drives the procedure can run another."""

    def __await__(self) -> Generator[None]:
        yield


class MemoryFile:
    """An open file of a `MemoryFolder`."""

    def __init__(self, folder: "MemoryFolder", name: str, content: Content, access: Access) -> None:
        self._folder = folder
        self._name = name
        self._content = content
        self._access = access
        self.identity = id(content)

    async def read(self, offset: int, length: int) -> bytes:
        async def act() -> bytes:
            assert self._access != "append"
            found = bytes(self._content.visible[offset : offset + length])
            if len(found) != length:
                raise FolderUnavailable(f"{self._name}: {len(found)} of {length} bytes could be read at {offset}")
            return found

        return await self._folder.perform(Operation("read", self._name, offset), act)

    async def write(self, offset: int, content: bytes) -> None:
        async def act() -> None:
            assert self._access == "append"
            end, growing = offset + len(content), self._name.startswith("tmp/")
            assert end <= len(self._content.visible) or growing, "files never change their size"
            self._content.visible.extend(bytes(max(0, end - len(self._content.visible))))
            self._content.visible[offset : offset + len(content)] = content

        await self._folder.perform(Operation("write", self._name, offset), act)

    async def write_block(self, offset: int, block: bytes) -> None:
        async def act() -> None:
            assert self._access == "blocks"
            assert len(block) == BLOCK_BYTES
            assert offset % BLOCK_BYTES == 0
            assert offset + BLOCK_BYTES <= len(self._content.visible)
            self._content.visible[offset : offset + BLOCK_BYTES] = block
            durable = bytearray(self._content.durable)
            durable[offset : offset + BLOCK_BYTES] = block
            self._content.durable = bytes(durable)

        await self._folder.perform(Operation("write_block", self._name, offset), act)

    async def sync(self) -> None:
        async def act() -> None:
            self._content.durable = bytes(self._content.visible)

        await self._folder.perform(Operation("sync", self._name), act)

    async def close(self) -> None:
        async def act() -> None:
            self._content = Content(bytearray(), b"")

        await self._folder.perform(Operation("close", self._name), act)


class MemoryFolder:
    """One member's way to a `Disk`."""

    def __init__(self, disk: Disk | None = None, *, suspends: bool = False) -> None:
        """``suspends``: every operation begins by letting others run (see `interleave`)."""
        self.disk = disk or Disk()
        self.ids: frozenset[str] = frozenset()
        self.format = 2
        self.keys = NO_KEYS
        self.operations: list[Operation] = []
        self.stale: set[str] = set()
        """Names that look-ups miss until their directory is refreshed, as cached by NFS."""
        self.remembers = False
        """A look-up that found something is answered so again until its directory is refreshed, as cached by NFS."""
        self._found: dict[str, Content] = {}
        self.free_bytes = self.free_files = 1 << 40
        """What is left on the volume, as it says."""
        self._suspends = suspends
        self._events: list[_Event] = []

    def other(self, *, suspends: bool = False) -> "MemoryFolder":
        """Return another member's way to the same disk."""
        return MemoryFolder(self.disk, suspends=suspends)

    def at(
        self,
        kind: str | None = None,
        part: str = "",
        nth: int = 1,
        *,
        before: Then | None = None,
        after: Then | None = None,
        answer: bool | None = None,
    ) -> None:
        """Plan something for the ``nth`` operation from now on of this kind, with ``part`` in its name.

        ``before``: instead of it (error) or ahead of it (call). ``after``: it took effect, and then. ``answer``: what
        it says, whatever it did.
        """
        self._events.append(_Event(kind, part, nth, before, after, answer))

    @property
    def planned(self) -> bool:
        """Something planned has not happened."""
        return bool(self._events)

    def cancel(self) -> None:
        """Plan nothing more."""
        self._events.clear()

    def log(self, *kinds: str) -> list[str]:
        """Return the operations so far, as words; only those of some kinds."""
        return [str(operation) for operation in self.operations if not kinds or operation.kind in kinds]

    async def perform(self, operation: Operation, act: Callable[[], Coroutine[None, None, T]]) -> T:
        if self._suspends:
            await _Turn()
        due = []
        for event in list(self._events):
            if event.kind in {None, operation.kind} and event.part in operation.name:
                event.nth -= 1
                if event.nth == 0:
                    self._events.remove(event)
                    due.append(event)
        for event in due:
            _happen(event.before)
        try:
            result = await act()
        except FolderError:
            for event in due:
                _happen(event.after)
            raise
        self.operations.append(operation)
        for event in due:
            _happen(event.after)
            if event.answer is not None:
                result = event.answer  # type: ignore[assignment]  # only `link` answers a bool
        return result

    async def open(self, name: str, access: Access) -> MemoryFile:
        async def act() -> MemoryFile:
            if name in self.stale:
                raise Missing(f"{name}: a cached look-up says so")
            found = self._found.get(name) or self.disk.content(name)
            if self.remembers:
                self._found[name] = found
            return MemoryFile(self, name, found, access)

        return await self.perform(Operation("open", name), act)

    async def create(self, name: str, content: bytes) -> None:
        async def act() -> None:
            directory, base = self.disk.parent(name)
            if base in directory.visible:
                raise FolderUnavailable(f"{name}: exists")
            directory.visible[base] = Content(bytearray(content), content)

        await self.perform(Operation("create", name), act)

    async def allocate(self, name: str, size: int) -> None:
        async def act() -> None:
            directory, base = self.disk.parent(name)
            assert base not in directory.visible
            directory.visible[base] = Content(bytearray(size), bytes(size))

        await self.perform(Operation("allocate", name), act)

    async def room(self) -> Room:
        async def act() -> Room:
            return Room(self.free_bytes, self.free_files)

        return await self.perform(Operation("room", ""), act)

    async def link(self, source: str, target: str) -> bool:
        async def act() -> bool:
            content = self.disk.content(source)
            directory, base = self.disk.parent(target)
            return directory.visible.setdefault(base, content) is content

        return await self.perform(Operation("link", target), act)

    async def remove(self, name: str) -> None:
        async def act() -> None:
            directory, base = self.disk.parent(name)
            directory.visible.pop(base, None)

        await self.perform(Operation("remove", name), act)

    async def sync_directory(self, directory: str) -> None:
        async def act() -> None:
            found = self.disk.directory(directory)
            found.durable = dict(found.visible)

        await self.perform(Operation("sync_directory", directory), act)

    async def refresh(self, directory: str) -> None:
        async def act() -> None:
            self.stale = {name for name in self.stale if name.rpartition("/")[0] != directory}
            self._found = {name: found for name, found in self._found.items() if name.rpartition("/")[0] != directory}

        await self.perform(Operation("refresh", directory), act)

    async def make_directory(self, directory: str) -> None:
        async def act() -> None:
            self.disk.root.visible.setdefault(directory, Directory())

        await self.perform(Operation("make_directory", directory), act)

    def nonce(self) -> str:
        return secrets.token_hex(16)

    async def names(self, directory: str) -> list[str]:
        async def act() -> list[str]:
            return sorted(self.disk.directory(directory).visible)

        return await self.perform(Operation("names", directory), act)


def _happen(what: Then | None) -> None:
    if isinstance(what, Exception):
        raise what
    if what is not None:
        what()


def interleave(
    procedures: list[Coroutine[Any, Any, T]], turns: Iterable[int], *, errors: type[Exception] | tuple[()] = ()
) -> list[T | Exception]:
    """Run procedures on suspending folders step by step: each turn names whose step is next, then all run to the end.

    Return their results; an error of ``errors`` stands where one ended so.
    """
    results: dict[int, T | Exception] = {}

    def step(which: int) -> None:
        try:
            procedures[which].send(None)
        except StopIteration as stop:
            results[which] = stop.value
        except errors as error:
            results[which] = error

    for turn in turns:
        if turn % len(procedures) not in results:
            step(turn % len(procedures))
    for which in range(len(procedures)):
        while which not in results:
            step(which)
    return [results[which] for which in range(len(procedures))]


def at_every_operation(attempt: Callable[[int], bool]) -> None:
    """Call ``attempt`` with 1, 2, ... (the operation at which something happens) until it says that nothing did."""
    for nth in count(1):
        if attempt(nth):
            assert nth > 1, "nothing ever happened"
            return
