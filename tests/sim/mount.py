"""One member's mount of the file server: the simulated `Folder`, with its caches and its faults.

The life of an operation: it waits for its turn (longer while the mount hangs or the server is down), it takes effect
at one instant of simulated time, and its answer returns to the calling thread, which may be paused or dead by then.
Meanwhile

- it may fail before or after its effect, or be retransmitted because its answer was lost, and take effect twice;
- appended pages stay in the member's own cache until they are synced or written back, in any order;
- an answer to a look-up may be older than a minute (on a mount that caches names, as NFS does);
- a block that is written in place may be visible before it is durable.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from hanas_core.volume import names
from hanas_core.volume.errors import FolderError, FolderUnavailable, Missing, NoSpace
from hanas_core.volume.folder import BLOCK_BYTES, Access, Room
from tests.sim.disk import ZERO, Directory, Disk, Inode, Pages, pages_of, parent
from tests.sim.world import World

NAMES_CACHED_SECONDS = 60.0


@dataclass(eq=False, slots=True)
class Trouble:
    """The current faults of a mount."""

    hangs_until: float = 0.0
    errors: float = 0.0
    """Part of the operations that fail."""
    only: str = ""
    """Hangs and errors concern this kind of operation only."""
    fails_once: bool = False
    """The next operation fails, for certain."""
    read_only: bool = False
    slow: float = 1.0


class Call:
    """One operation in flight: awaited by core, carried out by the world."""

    __slots__ = ("act", "boot", "inode", "kind", "mount", "name", "offset")

    def __init__(
        self, mount: Mount, kind: str, name: str, offset: int, act: Callable[[], Any], inode: Inode | None = None
    ) -> None:
        self.mount = mount
        self.kind = kind
        self.name = name
        self.offset = offset
        self.act = act
        self.inode = inode
        self.boot = mount.boot

    def __await__(self) -> Generator[Call, Any, Any]:
        return (yield self)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" @{self.offset}" if self.offset else "")


Reply = Callable[[Any, "Exception | None"], None]
Ambush = Callable[[Call, str], bool]
"""Called ``before`` and ``after`` the effect of each operation. True: the effect, or answer, waits for `release`."""

_CHANGES = frozenset(
    {"write", "write_block", "create", "allocate", "link", "remove", "sync", "refresh", "make_directory"}
)
_REPEATABLE = frozenset({"link", "write_block", "remove", "create", "sync_directory"})


class Mount:
    """The mount of the folder on one machine. Implements `hanas_core.volume.folder.Folder`."""

    def __init__(self, world: World, disk: Disk, name: str, *, caches_names: bool, unruly: float = 1.0) -> None:
        self.world = world
        self.disk = disk
        self.name = name
        self.ids: frozenset[str] = frozenset()
        self.format = 2
        self.keys = disk.keys
        self.trouble = Trouble()
        self.boot = 0
        """Number of crashes of this machine."""
        self.ambushes: list[Ambush] = []
        self._held: list[Callable[[], None]] = []
        self.counts: dict[str, int] = {}
        self._caches_names = caches_names
        self._entropy = random.Random(f"{world.seed} {name}")  # its own: the order of mounts has no influence
        self.unruly = unruly
        """Frequency of the small mishaps that each mount has: 1 is ordinary, 0 is never."""
        self._names: dict[str, dict[str, tuple[Inode | None, float]]] = {}
        self.cached: dict[Inode, Pages] = {}
        """Pages that this machine wrote and that are not known to be durable."""
        self._clean: dict[Inode, Pages] = {}
        """Pages that this machine wrote and believes to be durable: for later writes of parts of pages."""

    # ------------------------------------------------------------------ the machinery

    def submit(self, call: Call, reply: Reply) -> None:
        """Carry out an operation; ``reply`` is called with its answer, possibly never."""
        chance = self.world.random
        delay = chance.uniform(0.0001, 0.0006) * self.trouble.slow
        if self.unruly and chance.random() < 0.01 * self.unruly:
            delay += chance.uniform(0.005, 0.3)
        self.world.after(delay, lambda: self._perform(call, reply))

    def _perform(self, call: Call, reply: Reply) -> None:
        world = self.world
        if call.boot != self.boot and world.chance(0.7):
            return  # it never left the machine that crashed
        waits_until = self._waits_until(call)
        if waits_until > world.now and call.kind == "read" and world.chance(0.5):
            answer = self._act(call)  # it was read long before its answer comes
            world.at(waits_until, lambda: self._answer(call, reply, *answer))
            return
        if waits_until > world.now:
            world.at(waits_until + world.random.uniform(0, 0.05), lambda: self._perform(call, reply))
            return
        if self.ambushes:
            if self._springs(call, "before"):
                self._held.append(lambda: self._perform(call, reply))
                return
            if self._waits_until(call) > world.now:
                self._perform(call, reply)
                return
        fails = self._failure(call)
        if fails is not None and (call.kind not in _CHANGES or world.chance(0.5)):
            if call.kind == "sync":
                self._sync_failed(call)
            self._answer(call, reply, None, fails)
            return
        result, error = self._act(call)
        if call.kind in _REPEATABLE and self.unruly and world.chance(0.01 * self.unruly):
            world.note(self.name, f"{call} is sent again: its answer was lost")
            self._count("retransmitted")
            world.after(world.random.uniform(0.01, 1.0), lambda: self._answer(call, reply, *self._act(call)))
            return
        self._answer(call, reply, result, error if fails is None else fails)

    def _waits_until(self, call: Call) -> float:
        hangs = self.trouble.hangs_until if self.trouble.only in {"", call.kind} else 0.0
        return max(hangs, self.disk.down_until)

    def _failure(self, call: Call) -> FolderError | None:
        trouble = self.trouble
        if trouble.read_only and call.kind in _CHANGES | {"sync_directory"}:
            return FolderUnavailable(f"{call.name}: read-only file system")
        if trouble.fails_once or (
            trouble.errors and trouble.only in {"", call.kind} and self.world.chance(trouble.errors)
        ):
            trouble.fails_once = False
            self._count("errors")
            return FolderUnavailable(f"{call.name}: input/output error")
        return None

    def _act(self, call: Call) -> tuple[Any, FolderError | None]:
        try:
            return call.act(), None
        except FolderError as error:
            return None, error

    def _answer(self, call: Call, reply: Reply, result: Any, error: FolderError | None) -> None:
        if self.world.tracing and (error is not None or call.kind not in {"read", "open", "refresh"}):
            self.world.note(
                self.name, f"{call}{'' if result is None else f' -> {result}'}{f' !! {error}' if error else ''}"
            )
        if self.ambushes and self._springs(call, "after"):
            self._held.append(lambda: reply(result, error))
            return
        reply(result, error)

    def _springs(self, call: Call, when: str) -> bool:
        """Call the ambushes for an operation; return whether one of them holds it."""
        held = [ambush(call, when) for ambush in tuple(self.ambushes)]
        return any(held)

    def release(self) -> None:
        """Let the held operations continue."""
        held, self._held = self._held, []
        for go_on in held:
            self.world.after(0.0, go_on)

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    # ------------------------------------------------------------------ the member's machine

    def crash(self) -> None:
        """Clear the memory of the machine: what it had not sent is lost."""
        self.boot += 1
        self.cached.clear()
        self._clean.clear()
        self._names.clear()

    def write_back(self, inode: Inode, *, part: bool) -> None:
        """Send the cached pages of a file to the server, which does not make them durable yet."""
        for page, content in self.cached.get(inode, {}).items():
            if not part or self.world.chance(0.5):
                inode.seen[page] = content

    def _sync_failed(self, call: Call) -> None:
        """After a reported error, drop the unwritten pages or send them at any later time."""
        world, inode = self.world, call.inode
        if inode is None or inode not in self.cached:
            return
        lost = dict(self.cached[inode])
        if world.chance(0.5):
            del self.cached[inode]
            self._clean.setdefault(inode, {}).update(lost)
        if world.chance(0.5):
            world.after(world.random.uniform(0.05, 3.0), lambda: inode.seen.update(lost))

    def orphan(self) -> None:
        """After the death of the process on a living machine, write back its appended pages at some time."""
        world = self.world
        for inode, pages in sorted(self.cached.items(), key=lambda item: item[0].number):
            left = dict(pages)

            def land(inode: Inode = inode, left: Pages = left) -> None:
                inode.seen.update(left)
                if world.chance(0.5):
                    inode.durable.update(left)

            world.after(world.random.uniform(0.0, 3.0), land)
        self.cached.clear()

    # ------------------------------------------------------------------ look-ups

    def look_up(self, name: str) -> Inode:
        directory, base = parent(name)
        if self._caches_names:
            cached = self._names.setdefault(directory, {})
            if base in cached:
                inode, until = cached[base]
                if until > self.world.now and not (inode is not None and inode.gone):
                    if inode is None:
                        self._count("stale look-ups")
                        raise Missing(f"{name}: no such file or directory (cached)")
                    return inode
                del cached[base]
        inode = self.disk.find(name)
        if self._caches_names:
            until = self.world.now + self.world.random.uniform(0, NAMES_CACHED_SECONDS)
            self._names[directory][base] = inode, until
        if inode is None:
            raise Missing(f"{name}: no such file or directory")
        return inode

    def _directory(self, name: str) -> Directory:
        found = self.disk.directories.get(name)
        if found is None:
            raise Missing(f"{name}: no such directory")
        return found

    def _learn(self, directory: str, base: str) -> None:
        """Note one's own change of a directory, which is visible at once."""
        self._names.get(directory, {}).pop(base, None)

    # ------------------------------------------------------------------ the operations

    async def open(self, name: str, access: Access) -> OpenFile:
        def act() -> OpenFile:
            return OpenFile(self, name, self.look_up(name), access)

        opened: OpenFile = await Call(self, "open", name, 0, act)
        return opened

    async def create(self, name: str, content: bytes) -> None:
        def act() -> None:
            self._make(name, self.disk.new_inode(len(content), pages_of(content)))

        await Call(self, "create", name, 0, act)

    async def allocate(self, name: str, size: int) -> None:
        def act() -> None:
            self._make(name, self.disk.new_inode(size, {}))

        await Call(self, "allocate", name, 0, act)

    def _make(self, name: str, inode: Inode) -> None:
        directory, base = parent(name)
        found = self._directory(directory)
        if self.disk.full:
            raise NoSpace(f"{name}: no space left on device")
        if base in found.seen:
            raise FolderUnavailable(f"{name}: file exists")
        found.seen[base] = inode
        self._learn(directory, base)

    async def room(self) -> Room:
        free: int = await Call(self, "room", "", 0, lambda: 0 if self.disk.full else 1 << 40)
        return Room(free, free)

    async def link(self, source: str, target: str) -> bool:
        def act() -> bool:
            inode = self.look_up(source)
            directory, base = parent(target)
            found = self._directory(directory)
            self._learn(directory, base)
            if base in found.seen:
                return False
            if self.disk.full:  # not even for one more name
                raise NoSpace(f"{target}: no space left on device")
            found.seen[base] = inode
            self.disk.linked(target, inode)
            return True

        linked: bool = await Call(self, "link", target, 0, act)
        return linked

    async def remove(self, name: str) -> None:
        def act() -> None:
            directory, base = parent(name)
            found = self._directory(directory)
            if base in found.seen:
                self.disk.removed(name)
                self.disk.forget_name(found, base)
            self._learn(directory, base)

        await Call(self, "remove", name, 0, act)

    async def sync_directory(self, directory: str) -> None:
        def act() -> None:
            found = self._directory(directory)
            found.durable = dict(found.seen)

        await Call(self, "sync_directory", directory, 0, act)

    async def refresh(self, directory: str) -> None:
        def act() -> None:
            self._directory(directory)
            self._names.pop(directory, None)

        await Call(self, "refresh", directory, 0, act)

    async def make_directory(self, directory: str) -> None:
        def act() -> None:
            self.disk.directories.setdefault(directory, Directory())

        await Call(self, "make_directory", directory, 0, act)

    def nonce(self) -> str:
        return self._entropy.randbytes(16).hex()

    async def names(self, directory: str) -> list[str]:
        def act() -> list[str]:
            found = self._directory(directory)
            below = [] if directory else [name for name in self.disk.directories if name]
            return sorted([*found.seen, *below])

        listed: list[str] = await Call(self, "names", directory, 0, act)
        return listed


class OpenFile:
    """An open file at one member."""

    def __init__(self, mount: Mount, name: str, inode: Inode, access: Access) -> None:
        self.mount = mount
        self.name = name
        self.inode = inode
        self.disk = mount.disk
        """Stays the same when another volume is mounted."""
        self.access = access
        self.identity = inode.number
        self.synced_at = 0.0
        """Time of the effect of the last sync of this file."""

    def __str__(self) -> str:
        return f"file {self.inode.number}"

    def _living(self) -> Inode:
        if self.inode.gone:
            raise Missing(f"{self.name}: stale file handle")
        return self.inode

    def lags(self, offset: int, length: int) -> bool:
        """Return whether anything of this part was written here and is not known to be durable."""
        pages, end = self.mount.cached.get(self.inode, {}), offset + length
        for page in range(offset // BLOCK_BYTES, -(-end // BLOCK_BYTES)):
            start = page * BLOCK_BYTES
            begin, behind = max(0, offset - start), min(BLOCK_BYTES, end - start)
            if page in pages and pages[page][begin:behind] != self.inode.durable.get(page, ZERO)[begin:behind]:
                return True
        return False

    async def read(self, offset: int, length: int) -> bytes:
        assert self.access != "append"

        def act() -> bytes:
            inode = self._living()
            if inode in self.mount.cached:  # a direct read has one's own pages written back first
                self.mount.write_back(inode, part=False)
            content = inode.read(offset, length)
            if len(content) != length:
                raise FolderUnavailable(f"{self.name}: {len(content)} of {length} bytes could be read at {offset}")
            return content

        if length > BLOCK_BYTES and self.mount.world.chance(0.1):  # the server reads page after page
            middle = self.mount.world.random.randrange(1, -(-length // BLOCK_BYTES)) * BLOCK_BYTES
            return await self.read(offset, middle) + await self.read(offset + middle, length - middle)
        content: bytes = await Call(self.mount, "read", self.name, offset, act)
        return content

    async def write(self, offset: int, content: bytes) -> None:
        assert self.access == "append"
        mount = self.mount

        def act() -> None:
            inode = self._living()
            if self.name.startswith(f"{names.TEMPORARY}/"):
                inode.size = max(inode.size, offset + len(content))
            assert offset + len(content) <= inode.size, "a segment never changes its size"
            pages, clean = mount.cached.setdefault(inode, {}), mount._clean.setdefault(inode, {})
            for page in range(offset // BLOCK_BYTES, -(-(offset + len(content)) // BLOCK_BYTES)):
                old = pages.get(page) or clean.get(page) or inode.page(page)
                start = page * BLOCK_BYTES
                before, after = max(0, offset - start), min(BLOCK_BYTES, offset + len(content) - start)
                new = content[max(0, start - offset) : max(0, start - offset) + after - before]
                pages[page] = old[:before] + new + old[after:]
            if mount.world.chance(0.1):
                mount.world.after(
                    mount.world.random.uniform(0, 0.01), lambda: mount.write_back(inode, part=mount.world.chance(0.5))
                )

        await Call(mount, "write", self.name, offset, act)

    async def write_block(self, offset: int, block: bytes) -> None:
        assert self.access == "blocks"
        assert len(block) == BLOCK_BYTES
        assert offset % BLOCK_BYTES == 0
        mount, page = self.mount, offset // BLOCK_BYTES

        def see() -> None:
            inode = self._living()
            assert offset + BLOCK_BYTES <= inode.size
            inode.seen[page] = block
            self.disk.block_seen(self.name, inode, page)

        def keep() -> None:
            see()
            self.inode.durable[page] = block
            self.disk.block_written(self.name, self.inode, page)

        if mount.world.chance(0.3):  # visible to others before it is durable
            await Call(mount, "write_block", self.name, offset, see)
        await Call(mount, "write_block", self.name, offset, keep)

    async def sync(self) -> None:
        mount = self.mount

        def send() -> None:
            mount.write_back(self._living(), part=False)

        def commit() -> None:
            inode = self._living()
            pages = mount.cached.pop(inode, {})
            inode.seen.update(pages)  # again, if the server has crashed since they were sent
            inode.durable.update(pages)
            mount._clean.setdefault(inode, {}).update(pages)
            self.synced_at = mount.world.now

        if mount.world.chance(0.2):
            await Call(mount, "sync", self.name, 0, send, self.inode)
        await Call(mount, "sync", self.name, 0, commit, self.inode)

    async def close(self) -> None:
        await Call(self.mount, "close", self.name, 0, lambda: None)


__all__ = ["ZERO", "Call", "Mount", "OpenFile", "Trouble"]
