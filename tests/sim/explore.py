"""Every order of the folder's operations in a small cluster, on the production code: `make sim-explore`.

A configuration is a folder with a main that has acknowledged a write, and a few actors: procedures of the core, each a
chain of operations. In every state each actor may take its next step, and, as often as the configuration allows, the
file server may crash or a member's cache may be written back. A state is visited once, whatever path leads to it: it
consists of the contents of the volume and the caches, and the replies to each actor so far.

In every state the explorer asks: if everybody died now and the server lost all that is not durable, would a newcomer
find every acknowledged write, and every change that watchers were told, with its revision? An actor that serves must
hold what older epochs acknowledged. And a forwarded write that is repeated at the next main must have one outcome,
whoever tells it.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hanas_core.epochs import arbitration
from hanas_core.epochs.arbitration import Challenge, Expected
from hanas_core.epochs.takeover import Promotion, promote
from hanas_core.log import records
from hanas_core.log.claimfile import Claim
from hanas_core.log.claims import claim_epoch, highest_claim
from hanas_core.log.positions import Version
from hanas_core.log.records import Forwarded
from hanas_core.log.segments import prepare
from hanas_core.state.changes import Reading
from hanas_core.state.index import Index
from hanas_core.state.judge import ForwardedWrite, Opening, Outcome, Request, Write
from hanas_core.state.queue import GroupCommit
from hanas_core.state.reader import LogReader
from hanas_core.state.replica import Replica
from hanas_core.state.transactions import Span
from hanas_core.volume import names
from hanas_core.volume.errors import Corruption, FolderError, Sealed
from tests.sim.disk import Directory, Disk, Inode
from tests.sim.mount import Call, Mount
from tests.sim.world import World

FOLDER_ID = "f" * 32
SEGMENT_BYTES = 12 << 10
_VALUE = b"v"
_FORWARDED = b"forwarded"
"""The key of the write that is brought to each main."""
Move = tuple[str, int]
"""The next step: its kind, and the index of the actor."""


class _NoChance(World):
    """A world in which nothing happens by itself."""

    def __init__(self) -> None:
        super().__init__(0)

    def chance(self, probability: float) -> bool:
        return False


class Found(Exception):
    """Some order breaks a promise. The message has the order."""


@dataclass
class Actor:
    """A procedure and its progress."""

    name: str
    mount: Mount
    number: int
    procedure: Coroutine[Any, Any, None] | None = None
    pending: Call | None = None
    told: int = 0
    """Identifies all replies to it so far."""
    inodes: int = 0
    index: Index | None = None
    """The state that it serves, once it serves."""
    epoch: int = 0
    acknowledged: list[tuple[int, bytes]] = field(default_factory=list)
    """Epoch and key of each write that it acknowledged."""
    versions: set[Version] = field(default_factory=set)
    """What it said that the forwarded write made."""
    changes: set[tuple[int, str]] = field(default_factory=set)
    """What it told of revisions: which key each of them changed."""


class Cluster:
    """A folder and its actors."""

    def __init__(self, crashes: int, write_backs: int) -> None:
        self.world = _NoChance()
        self.disk = Disk(self.world.random)
        self.actors: list[Actor] = []
        self.crashes = crashes
        self.write_backs = write_backs

    def actor(self, name: str) -> Actor:
        number = len(self.actors) + 1
        mount = Mount(self.world, self.disk, name, caches_names=False, unruly=0.0)
        made = Actor(name, mount, number, inodes=1000 * number)
        self.actors.append(made)
        return made

    # ------------------------------------------------------------------ steps

    def begin(self, actor: Actor, procedure: Coroutine[Any, Any, None]) -> None:
        actor.procedure = procedure
        self._go_on(actor, None, None)

    def run(self, actor: Actor, procedure: Coroutine[Any, Any, None]) -> None:
        """Run a procedure of an actor from its beginning to its end."""
        self.begin(actor, procedure)
        while actor.pending is not None:
            self.step(actor)

    def step(self, actor: Actor) -> None:
        call = actor.pending
        assert call is not None
        self.disk._inodes = actor.inodes
        try:
            result, error = call.act(), None
        except FolderError as raised:
            result, error = None, raised
        actor.inodes = self.disk._inodes
        shown = result if isinstance(result, bytes | bool | None) else str(result)
        actor.told = hash((actor.told, str(call), shown, type(error)))
        self._go_on(actor, result, error)

    def _go_on(self, actor: Actor, result: Any, error: Exception | None) -> None:
        assert actor.procedure is not None
        try:
            actor.pending = actor.procedure.send(result) if error is None else actor.procedure.throw(error)
        except StopIteration:
            actor.pending = None

    def crash(self) -> None:
        """Crash the server: everything that is not durable is lost."""
        lose_all(self.disk)
        self.crashes -= 1

    def write_back(self, actor: Actor) -> None:
        for inode in list(actor.mount.cached):
            actor.mount.write_back(inode, part=False)
        self.write_backs -= 1

    def moves(self) -> list[Move]:
        found = [("step", place) for place, actor in enumerate(self.actors) if actor.pending is not None]
        if self.crashes and found:
            found.append(("crash", 0))
        if self.write_backs:
            found += [("write back", place) for place, actor in enumerate(self.actors) if actor.mount.cached]
        return found

    def move(self, move: Move) -> None:
        kind, place = move
        if kind == "step":
            self.step(self.actors[place])
        elif kind == "crash":
            self.crash()
        else:
            self.write_back(self.actors[place])

    def describe(self, move: Move) -> str:
        kind, place = move
        if kind == "crash":
            return "the server crashes"
        actor = self.actors[place]
        return f"{actor.name}: {actor.pending if kind == 'step' else 'its cache is written back'}"

    # ------------------------------------------------------------------ states

    def state(self) -> int:
        inodes: dict[int, Inode] = {}
        seen, durable = [], []
        for name, directory in self.disk.directories.items():
            for base, inode in directory.seen.items():
                seen.append((name, base, inode.number))
                inodes[inode.number] = inode
            for base, inode in directory.durable.items():
                durable.append((name, base, inode.number))
                inodes[inode.number] = inode
        contents = frozenset(
            (number, frozenset(inode.seen.items()), frozenset(inode.durable.items()))
            for number, inode in inodes.items()
        )
        caches = tuple(
            frozenset((inode.number, frozenset(pages.items())) for inode, pages in actor.mount.cached.items())
            for actor in self.actors
        )
        told = tuple(actor.told for actor in self.actors)
        return hash((frozenset(seen), frozenset(durable), contents, caches, told, self.crashes, self.write_backs))

    def durable_state(self) -> int:
        """What a crash would leave, and what must be in it."""
        left = frozenset(
            (name, base, inode.number, frozenset(inode.durable.items()))
            for name, directory in self.disk.directories.items()
            for base, inode in directory.durable.items()
        )
        return hash((left, frozenset(self.acknowledged()), frozenset(self.changes())))

    def acknowledged(self) -> list[tuple[int, bytes]]:
        return [write for actor in self.actors for write in actor.acknowledged]

    def changes(self) -> set[tuple[int, str]]:
        return set[tuple[int, str]]().union(*(actor.changes for actor in self.actors))


def lose_all(disk: Disk) -> None:
    disk.epoch += 1
    inodes = {inode for directory in disk.directories.values() for inode in directory.seen.values()}
    for directory in disk.directories.values():
        directory.seen = dict(directory.durable)
    linked = {inode for directory in disk.directories.values() for inode in directory.seen.values()}
    for inode in inodes | linked:
        inode.gone = inode not in linked
        inode.seen = dict(inode.durable)


# ---------------------------------------------------------------------- what actors do


def _claim(actor: Actor, epoch: int) -> Claim:
    return Claim(
        epoch=epoch,
        member=actor.name,
        incarnation=f"{actor.number:032x}",
        nonce=actor.mount.nonce(),
        advertise_url="http://x",
        link_url="http://x",
        folder_id=FOLDER_ID,
        follows=epoch - 1,
    )


async def _serve(actor: Actor, claim: Claim) -> tuple[Promotion, Replica]:
    spare = await prepare(actor.mount, actor.name, claim.incarnation, SEGMENT_BYTES)
    replica = Replica()
    promotion = await promote(
        actor.mount,
        claim,
        replica,
        spare=spare,
        segment_bytes=SEGMENT_BYTES,
        commit_position=None,
        clock=lambda: 0.0,
        progress=lambda step: None,
    )
    actor.index, actor.epoch = replica.index, claim.epoch
    return promotion, replica


async def _commit(actor: Actor, promotion: Promotion, replica: Replica, *requests: Request) -> list[Outcome]:
    """Commit each as a batch of its own; return their outcomes."""
    commits: GroupCommit[None] = GroupCommit(replica, actor.epoch, promotion.next_sequence, form=records.REVISED)
    outcomes = []
    for request in requests:
        commits.submit(request, None)
        batch = commits.next_batch(promotion.log.room)
        assert batch is not None
        position = await promotion.log.commit(batch)
        [(_, outcome)] = commits.committed(position)
        outcomes.append(outcome)
        if isinstance(request, Write):
            actor.acknowledged.append((actor.epoch, request.key))
            actor.changes.add((outcome.revision, request.key))
    return outcomes


async def _write(actor: Actor, promotion: Promotion, replica: Replica, *keys: bytes) -> None:
    await _commit(actor, promotion, replica, *(Write(key, _VALUE) for key in keys))


async def _carry_out(actor: Actor, promotion: Promotion, replica: Replica, session: Version) -> None:
    """Do what a forwarder brings, its first write, and tell the outcome."""
    request = ForwardedWrite(Write(_FORWARDED, _VALUE), Forwarded(session, 1, 1))
    [outcome] = await _commit(actor, promotion, replica, request)
    assert outcome.version is not None
    actor.acknowledged.append((actor.epoch, _FORWARDED))
    actor.versions.add(outcome.version)


async def _watch(actor: Actor, epochs: Iterable[int]) -> None:
    """Follow one epoch after the other, and tell watchers what a backup may tell."""
    reader, replica, told = LogReader(actor.mount, 0), Replica(), 1
    for epoch in epochs:
        try:
            course = await reader.follow(epoch, replica.applied)
            if course is None:
                return
            replica.install(course)
            at_end = False
            while not at_end:
                step = await reader.step()
                replica.take(step)
                at_end = step.at_end
                if step.batches:
                    keys, last = replica.index.keys, replica.index.revision
                    stretch = Reading(keys, Span("", None), told, previous=False).read(last, 1 << 30, lambda: True)
                    assert stretch is not None
                    actor.changes |= {(event.revision, event.key) for event in stretch.events}
                    told = stretch.revision
        except FolderError as error:
            _refuse_corruption(error)
            return


async def _challenge(actor: Actor, candidate: Actor, main: str) -> None:
    await arbitration.challenge(
        actor.mount,
        Challenge(
            member=candidate.name,
            incarnation=f"{candidate.number:032x}",
            folder_id=FOLDER_ID,
            expected=Expected(1, main),
            verdict="PrimaryFailed",
        ),
        folder_id=FOLDER_ID,
        addresses=("http://x", "http://x"),
        now="",
    )


async def _adopt(actor: Actor, looks: int, session: Version | None = None) -> None:
    """Read the claims a few times; take over when the highest one is one's own, and do a write, that of ``session``."""
    try:
        for _ in range(looks):
            claim = await highest_claim(actor.mount)
            if claim is not None and claim.incarnation == f"{actor.number:032x}":
                promotion, replica = await _serve(actor, claim)
                if session is None:
                    await _write(actor, promotion, replica, f"of {actor.name}".encode())
                else:
                    await _carry_out(actor, promotion, replica, session)
                return
    except (FolderError, Sealed) as error:
        _refuse_corruption(error)


async def _contend(actor: Actor, main: str, session: Version | None = None) -> None:
    """Challenge the main oneself and take over when the claim is one's own."""
    try:
        await _challenge(actor, actor, main)
    except (FolderError, Sealed) as error:
        _refuse_corruption(error)
        return
    await _adopt(actor, 1, session)


async def _until_fenced(writing: Coroutine[Any, Any, None]) -> None:
    try:
        await writing
    except (FolderError, Sealed) as error:
        _refuse_corruption(error)


async def _ask_for(actor: Actor, candidate: Actor, main: str) -> None:
    try:
        await _challenge(actor, candidate, main)
    except FolderError as error:
        _refuse_corruption(error)


def _refuse_corruption(error: Exception) -> None:
    if isinstance(error, Corruption):
        raise Found(f"what nobody spoilt is taken for corruption: {error}")


# ---------------------------------------------------------------------- configurations


def _with_main(crashes: int, write_backs: int) -> tuple[Cluster, Actor, Promotion, Replica]:
    made = Cluster(crashes, write_backs)
    main = made.actor("a")
    kept: list[tuple[Promotion, Replica]] = []

    made.disk.directories |= {name: Directory() for name in names.DIRECTORIES}

    async def prologue() -> None:
        promotion, replica = await _serve(main, await claim_epoch(main.mount, _claim(main, 1)))
        await _write(main, promotion, replica, b"first")
        kept.append((promotion._replace(next_sequence=2), replica))

    made.run(main, prologue())
    for directory in made.disk.directories.values():
        directory.durable = dict(directory.seen)
    return made, main, *kept[0]


def takeover(*, writes: int, rivals: int, crashes: int, write_backs: int) -> Cluster:
    """The main commits while ``rivals`` take over from it, each claiming by itself."""
    made, main, promotion, replica = _with_main(crashes, write_backs)
    names_of_rivals = "bcd"[:rivals]
    keys = tuple(b"of a %d" % number for number in range(writes))
    others = [made.actor(name) for name in names_of_rivals]
    made.begin(main, _until_fenced(_write(main, promotion, replica, *keys)))
    for other in others:
        made.begin(other, _contend(other, "a"))
    return made


def adoption(*, writes: int, looks: int, crashes: int, write_backs: int) -> Cluster:
    """An overseer claims for a backup, which looks at the claims and adopts what is its own, while the main commits."""
    made, main, promotion, replica = _with_main(crashes, write_backs)
    overseer, backup = made.actor("o"), made.actor("b")
    keys = tuple(b"of a %d" % number for number in range(writes))
    made.begin(main, _until_fenced(_write(main, promotion, replica, *keys)))
    made.begin(overseer, _ask_for(overseer, backup, "a"))
    made.begin(backup, _adopt(backup, looks))
    return made


def forwarding(*, rivals: int, crashes: int, write_backs: int) -> Cluster:
    """A forwarder brings a write to the main, and again to each rival that takes over meanwhile."""
    made, main, promotion, replica = _with_main(crashes, write_backs)
    opened: list[Outcome] = []

    async def open_session() -> None:
        opened.extend(await _commit(main, promotion, replica, Opening("forwarder")))

    made.run(main, open_session())
    session = opened[0].version
    assert session is not None
    promotion = promotion._replace(next_sequence=session.sequence + 1)
    made.begin(main, _until_fenced(_carry_out(main, promotion, replica, session)))
    for name in "bcd"[:rivals]:
        rival = made.actor(name)
        made.begin(rival, _contend(rival, "a", session))
    return made


def watching(*, crashes: int) -> Cluster:
    """A main died before it synced a write, which is visible; a rival takes over, and a backup tells what it reads."""
    made, main, promotion, replica = _with_main(crashes, 1)
    made.begin(main, _until_fenced(_write(main, promotion, replica, "of a")))
    while "sync" not in str(main.pending):
        made.step(main)
    main.pending = None
    made.write_back(main)
    backup, rival = made.actor("w"), made.actor("b")
    made.begin(backup, _watch(backup, (1, 2)))
    made.begin(rival, _contend(rival, "a"))
    return made


class Configuration(NamedTuple):
    name: str
    make: Callable[[], Cluster]


CONFIGURATIONS = (
    Configuration("two commits, one takeover", lambda: takeover(writes=2, rivals=1, crashes=0, write_backs=1)),
    Configuration("a commit, a takeover, a crash", lambda: takeover(writes=1, rivals=1, crashes=1, write_backs=1)),
    Configuration("an overseer claims, a worker adopts", lambda: adoption(writes=0, looks=2, crashes=1, write_backs=0)),
    Configuration("two rivals", lambda: takeover(writes=0, rivals=2, crashes=0, write_backs=0)),
    Configuration("a commit and two rivals", lambda: takeover(writes=1, rivals=2, crashes=0, write_backs=0)),
    Configuration("a forwarded write, a takeover, a crash", lambda: forwarding(rivals=1, crashes=1, write_backs=1)),
    Configuration("a watch at a backup, a takeover", lambda: watching(crashes=0)),
    Configuration("a forwarded write and two rivals", lambda: forwarding(rivals=2, crashes=0, write_backs=0)),
)


# ---------------------------------------------------------------------- the search


@dataclass
class Explored:
    """Size of the search."""

    states: int = 0
    transitions: int = 0
    ends: int = 0
    deepest: int = 0
    complete: bool = True
    """The bound excluded nothing."""


class _Way(NamedTuple):
    """The origin of a state: the previous state, and the move from there."""

    before: _Way | None
    move: Move


def explore(configuration: Configuration, most_states: int = 1 << 60) -> Explored:
    """Visit every state, depth first, up to a bound. Raises Found."""
    explored = Explored()
    seen: set[int] = set()
    judged: set[int] = set()
    now, at = configuration.make(), None
    waiting: list[_Way] = []

    def visit(way: _Way | None, depth: int) -> None:
        state = now.state()
        if state in seen:
            return
        seen.add(state)
        explored.states += 1
        explored.deepest = max(explored.deepest, depth)
        _judge_mains(now)
        if (durable := now.durable_state()) not in judged:
            judged.add(durable)
            _judge_newcomer(now)
        moves = now.moves()
        explored.ends += not moves
        waiting.extend(_Way(way, move) for move in moves)

    visit(None, 0)
    while waiting and explored.states < most_states:
        way = waiting.pop()
        moves = _moves(way)
        try:
            if way.before is not at:
                now = configuration.make()
                for move in moves[:-1]:
                    now.move(move)
            now.move(way.move)
            at = way
            explored.transitions += 1
            visit(way, len(moves))
        except Found as found:
            raise Found(f"{configuration.name}: {found}\n{_story(configuration, moves)}") from None
    explored.complete = not waiting
    return explored


def _moves(way: _Way | None) -> list[Move]:
    moves: list[Move] = []
    while way is not None:
        moves.append(way.move)
        way = way.before
    return moves[::-1]


def _story(configuration: Configuration, moves: list[Move]) -> str:
    now, lines = configuration.make(), []
    for move in moves:
        lines.append(f"  {now.describe(move)}")
        try:
            now.move(move)
        except Found:
            break
    return "\n".join(lines)


def _judge_mains(now: Cluster) -> None:
    acknowledged = now.acknowledged()
    mains = [actor for actor in now.actors if actor.index is not None]
    for main in mains:
        for epoch, key in acknowledged:
            if main.index is not None and epoch < main.epoch and main.index.get(key) is None:
                raise Found(f"{main.name} serves epoch {main.epoch} without {key!r}, which epoch {epoch} acknowledged")
    versions = sorted(set[Version]().union(*(actor.versions for actor in now.actors)))
    changed = dict[int, str]()
    for revision, key in sorted(now.changes()):
        if changed.setdefault(revision, key) != key:
            raise Found(f"revision {revision} was told of {changed[revision]!r} and of {key!r}")
    if len(versions) > 1:
        raise Found(f"a forwarded write was done twice: it made {versions[0]} and {versions[1]}")


def _judge_newcomer(now: Cluster) -> None:
    found = _newcomer(now)
    lost = [key for _, key in now.acknowledged() if found.get(key) is None]
    if lost:
        raise Found(f"if everybody died now, {lost[0]!r} would be lost, which was acknowledged")
    for revision, key in sorted(now.changes()):
        entry = found.get(key)
        if entry is None or entry.facts.revision != revision:
            raise Found(f"if everybody died now, {key!r} would not be of revision {revision}, as was told")


def _newcomer(now: Cluster) -> Index:
    """The state of a takeover after everybody died and the server lost what is not durable."""
    after = Cluster(0, 0)
    after.disk.directories = copy.deepcopy(now.disk.directories)
    lose_all(after.disk)
    newcomer = after.actor("z")
    newcomer.inodes = 1 << 30
    replicas: list[Replica] = []

    async def recover() -> None:
        highest = await highest_claim(newcomer.mount)
        epoch = 1 if highest is None else highest.epoch + 1
        claim = await claim_epoch(newcomer.mount, _claim(newcomer, epoch))
        replicas.append((await _serve(newcomer, claim))[1])

    try:
        after.run(newcomer, recover())
    except FolderError as error:
        raise Found(f"if everybody died now, nobody could take over: {error}") from None
    return replicas[0].index


def main() -> int:
    parser = argparse.ArgumentParser(prog="make sim-explore", description=__doc__)
    parser.add_argument("--most-states", type=int, default=200_000, help="bound for each configuration")
    wanted = parser.parse_args()
    print(f"{'configuration':<40}{'states':>10}{'moves':>10}{'ends':>8}{'depth':>7}  bound")
    for configuration in CONFIGURATIONS:
        started = time.process_time()
        try:
            explored = explore(configuration, wanted.most_states)
        except Found as found:
            print(found)
            return 1
        bound = "none: complete" if explored.complete else f"{wanted.most_states} states"
        print(
            f"{configuration.name:<40}{explored.states:>10}{explored.transitions:>10}{explored.ends:>8}"
            f"{explored.deepest:>7}  {bound}, {time.process_time() - started:.0f} s",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
