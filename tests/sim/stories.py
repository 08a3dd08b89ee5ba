"""The bugs that the simulator has found (docs/simulation.md), each as a scripted run that leaves nothing to chance.

A seed means something else after every change of the code, a story does not. Each is run on the code as it is, and on
the mutant that has the bug again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from unittest.mock import patch

from hanas_core.log.claimfile import POINTER_OFFSET, SEAL_OFFSET, Claim, encode_claim
from hanas_core.log.positions import Position
from hanas_core.members import cluster, registry
from hanas_core.members.member import IsolationPolicy
from hanas_core.members.roles import Role
from hanas_core.members.verdicts import Verdict
from hanas_core.upkeep.copying import Commitment, FolderCopy
from hanas_core.volume import names
from hanas_core.volume.folder import BLOCK_BYTES
from hanas_worker.host import host
from hanas_worker.log.caretaker import Caretaker
from tests.sim import departures, leasing, pauses, serving, switchovers, watching
from tests.sim.attacker import Trick
from tests.sim.disk import Directory, Disk, Inode, pages_of
from tests.sim.explore import lose_all
from tests.sim.mount import Call
from tests.sim.network import Answer
from tests.sim.newcomer import at_once, reader_of
from tests.sim.places import Place
from tests.sim.processes import TIMING, Overseer, Worker
from tests.sim.simulation import Report, Shape, Simulation
from tests.sim.themes import ANYTHING, Theme
from tests.sim.world import Violation

CALM = Shape(workers=3, overseers=1, clients=3, keys=3, caches_names=False, unruly=0.0, policy=IsolationPolicy.STAY)
GROWING = ANYTHING._replace(compact_bytes=1 << 30)
"""Nothing is compacted."""


class Story(Simulation):
    """A run with scripted faults. All members are well before and after."""

    TRANSACTORS = LESSEES = WATCHERS = 0

    def __init__(self, script: Callable[[Story], None], shape: Shape, theme: Theme) -> None:
        super().__init__(0, shape=shape, theme=theme)
        self.stays_quiet = True
        self.witness.looks_ahead = False
        self.changes = ExitStack()
        """Of constants of the code, for the whole story."""
        self._script = script

    def play(self) -> Report:
        with self.changes:
            return super().play()

    def _go_wrong(self) -> None:
        self._script(self)

    def until(self, done: Callable[[], bool], seconds: float = 10.0) -> None:
        """Let time pass until a condition holds."""
        if not self.world.run(self.world.now + seconds, done):
            raise Violation(f"the story does not go on at {self.world.now:g} s")

    def for_seconds(self, seconds: float) -> None:
        self.world.run(self.world.now + seconds)

    def main(self) -> Worker:
        """Wait for a main that serves, and for a write that it acknowledged."""
        self.until(lambda: any(worker.serves for worker in self.workers.values()))
        before = self.clients.acknowledged
        self.until(lambda: self.clients.acknowledged > before or not self.shape.clients)
        return next(worker for worker in self.workers.values() if worker.serves)

    def ask(
        self, worker: Worker, method: str, key: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Callable[[], Answer]:
        """Send a request; return a task that waits for its answer."""
        loop, url = self.clients.loop, f"http://{worker.name}:3000/v1/kv/{key}"
        task = loop.spawn(self.network.request(loop, method, url, body, 5.0, headers))

        def answer() -> Answer:
            self.until(task.done)
            return task.result()

        return answer

    def epoch(self) -> int:
        """Return the highest epoch that was claimed."""
        return len(self.disk.directories[names.CLAIMS].seen)

    def others(self, worker: Worker) -> list[Worker]:
        return [other for other in self.workers.values() if other is not worker]

    def catch(self, member: Worker | Overseer, place: Place, moment: str) -> Callable[[], bool]:
        """Hold the next operation of a kind, or its answer, until the mount is released; return whether it came."""
        caught = []

        def strike(call: Call) -> bool:
            caught.append(call)
            return True

        self.ambushes.wait(member, place, moment, strike)
        return lambda: bool(caught)

    def claimed_but_not_durable(self) -> tuple[Worker, list[Worker]]:
        """Kill the main; the overseer claims for another one and hangs before the claim's name is durable."""
        main, overseer = self.main(), self.overseers[0]
        caught = self.catch(overseer, Place("link", "claims/"), "after")
        main.kill(machine=False)
        self.until(caught)
        return main, self.others(main)

    def has_claimed_at_most(self, epochs: int) -> None:
        if (claimed := self.epoch()) > epochs:
            raise Violation(f"{claimed} epochs were claimed, though no takeover could succeed")

    def forget(self) -> None:
        """Restart the server with what is durable only."""
        lose_all(self.disk)

    def goes_on_without(self, first: Worker) -> None:
        """Let the others go; kill the main that comes of that, and wait for the one after it."""
        for worker in self.others(first):
            worker.mount.release()
            worker.mount.ambushes.clear()
        second = self.main()
        second.kill(machine=False)
        self.main()

    def start_overseer_anew(self) -> None:
        self.overseers[0].kill()
        self.overseers[0].mount.release()
        self.overseers[0].start()


def _adopted_before_it_is_durable(story: Story) -> None:
    first, _ = story.claimed_but_not_durable()
    second = story.main()
    story.forget()
    story.start_overseer_anew()
    second.kill(machine=False)
    first.start()
    story.main()


def _manifest_without_a_name(story: Story) -> None:
    first = story.main()
    caught = [
        story.catch(worker, Place("link", "manifests/", role=Role.ELECT), "after") for worker in story.others(first)
    ]
    first.kill(machine=False)
    story.until(lambda: any(done() for done in caught))
    story.forget()
    story.goes_on_without(first)


def _remembered_before_it_is_durable(story: Story) -> None:
    _, others = story.claimed_but_not_durable()
    for worker in others:
        worker.mount.trouble.errors, worker.mount.trouble.only = 1.0, "sync_directory"
    story.for_seconds(0.6)
    story.forget()
    for worker in others:
        worker.mount.trouble.errors = 0.0
    story.start_overseer_anew()
    story.main()


def _found_in_a_cache_of_names(story: Story) -> None:
    story.until(lambda: [worker.role for worker in story.workers.values()].count(Role.BACKUP) == 2)
    _, others = story.claimed_but_not_durable()
    caught: set[str] = set()
    releasing = False

    def catch(worker: Worker) -> None:
        def strike(call: Call) -> bool:
            del call
            if not releasing:
                caught.add(worker.name)
                catch(worker)  # whichever of its duties comes next
            return not releasing

        story.ambushes.wait(worker, Place("sync_directory", "claims"), "before", strike)

    for worker in others:
        catch(worker)
    story.until(lambda: len(caught) == len(others))
    temporary = story.disk.directories["tmp"]
    temporary.durable = dict(temporary.seen)  # the claim's file is still there, under its first name
    story.forget()
    releasing = True
    for worker in others:
        worker.mount.release()
    story.witness.looks_ahead = True  # whether harm comes of it depends on who asks for the epoch next
    story.start_overseer_anew()
    story.main()


def _slot_that_is_forgotten(story: Story) -> None:
    story.witness.looks_ahead = True  # whether harm comes of it depends on who is the main next

    def fail(call: Call) -> bool:
        call.mount.trouble.fails_once = True
        return False

    for worker in story.workers.values():
        story.ambushes.wait(worker, Place("sync_directory", "members"), "before", fail)
    story.until(lambda: all(worker.role in {Role.MAIN, Role.BACKUP} for worker in story.workers.values()))
    story.forget()
    for worker in story.workers.values():
        worker.kill(machine=True)
        worker.start()
    story.main()


def _slots_run_out(story: Story) -> None:
    for place, constant, value in (
        (registry, "SLOTS", 3),
        (registry, "VACANT_AFTER", 3.0),
        (host, "VACANT_AFTER", 3.0),
    ):
        story.changes.enter_context(patch.object(place, constant, value))
    workers = story.workers.values()

    def well() -> list[Worker]:
        return [worker for worker in workers if worker.role in {Role.MAIN, Role.BACKUP}]

    main = story.main()
    story.until(lambda: len(well()) == 3)
    late = next(worker for worker in workers if worker not in well())
    paused, leaving = (worker for worker in well() if worker is not main)
    leaving.stop()
    story.until(lambda: late in well())
    story.until(lambda: not leaving.running)
    leaving.start()
    story.for_seconds(2.0)  # all slots belong to those who live
    paused.pause()
    story.until(lambda: leaving in well(), 20.0)
    paused.resume()
    story.for_seconds(5.0)
    main.kill(machine=False)
    story.main()


def _idle_main(story: Story) -> None:
    story.main()
    story.until(lambda: any(worker.log and worker.log.compactor.runs for worker in story.workers.values()))


def _value_that_moves(story: Story) -> None:
    main = story.main()
    old, new = b"o" * 3000, b"n" * 5000
    story.ask(main, "PUT", "k", old)()
    for number in range(3):
        story.ask(main, "PUT", f"other{number}", bytes(3000))()
    caught = story.catch(main, Place("read", "segments/", role=Role.MAIN), "before")
    reading = story.ask(main, "GET", "k")
    story.until(caught)
    story.ask(main, "PUT", "k", new)()
    assert main.log is not None
    compactor, runs = main.log.compactor, main.log.compactor.runs
    for _ in range(30):
        story.ask(main, "PUT", "other", bytes(3000))()
    story.until(lambda: compactor.runs > runs)
    main.mount.release()
    answer = reading()
    story.clients.start(2)
    if answer.status == 200 and answer.body not in {old, new}:
        raise Violation(f"a read found {len(answer.body)} bytes that nobody wrote")


def _value_that_is_replaced(story: Story) -> None:
    main = story.main()
    story.ask(main, "PUT", "k", b"o" * 280)()
    for number in range(80):  # a cache holds fewer values of this size
        story.ask(main, "PUT", f"other{number}", bytes(280))()
    caught = story.catch(main, Place("read", "segments/", role=Role.MAIN), "before")
    reading = story.ask(main, "GET", "k")
    story.until(caught)
    story.ask(main, "PUT", "k", b"n" * 280)()
    main.mount.release()
    reading()
    if (answer := story.ask(main, "GET", "k")()).body != b"n" * 280:
        raise Violation(f"a read after the acknowledgement of {b'n'!r} found {answer.body[:1]!r}")
    story.clients.start(2)


def _copied_while_the_main_shows_itself(story: Story) -> None:
    main = story.main()
    story.ask(main, "PUT", "k", b"old")()
    folder = reader_of(story.disk)
    at_once(cluster.identify(folder))
    commitment, copy, seen = Commitment(folder), FolderCopy(folder), list[Position]()
    caught = story.catch(main, Place("write_block", "mailboxes/presence"), "before")
    story.until(caught)
    story.ask(main, "PUT", "k", b"new")()

    def looked() -> bool:
        position = at_once(commitment.look())
        seen.extend([] if position is None else [position])
        return bool(seen)

    looked()
    main.mount.release()
    story.until(looked)
    at_once(copy.read(seen[0]))
    found = {item.key: item.value for item in at_once(copy.take())}
    if found != {"k": b"new"}:
        raise Violation(f"a backup that began after the acknowledgement of 'new' holds {found}")
    story.clients.start(2)


def _delete_that_is_merged(story: Story) -> None:
    main = story.main()
    assert main.log is not None
    for number in range(8):
        story.ask(main, "PUT", f"cold{number}", bytes(3400))()
    story.ask(main, "PUT", "gone", b"v")()
    story.ask(main, "PUT", "hot", bytes(3400))()  # in the next segment
    story.ask(main, "DELETE", "gone")()
    compactor, runs = main.log.compactor, main.log.compactor.runs
    for _ in range(30):
        story.ask(main, "PUT", "hot", bytes(3400))()
    story.until(lambda: compactor.runs > runs)
    story.clients.start(2)


def _takes_over_too_late(story: Story) -> None:
    for worker in story.workers.values():
        story.catch(worker, Place("allocate", "tmp/"), "before")
    story.until(lambda: any(worker.role is Role.ELECT for worker in story.workers.values()))
    slow = next(worker for worker in story.workers.values() if worker.role is Role.ELECT)
    for worker in story.others(slow):
        worker.mount.ambushes.clear()
        worker.mount.release()
    story.main()
    story.until(lambda: slow.log is not None and slow.log.state.replica.index.sequence > 0)
    slow.mount.release()
    story.for_seconds(1.0)
    for worker in story.others(slow):
        worker.kill(machine=False)
    story.main()


def _serves_between_a_look_and_a_seal(story: Story) -> None:
    first = story.main()
    story.until(lambda: all(worker.role is Role.BACKUP for worker in story.others(first)))
    pointing = {
        worker: story.catch(worker, Place("write_block", "claims/", POINTER_OFFSET, Role.ELECT), "before")
        for worker in story.others(first)
    }
    first.kill(machine=False)
    story.until(lambda: any(done() for done in pointing.values()))
    second, third = sorted(pointing, key=lambda worker: not pointing[worker]())
    third.mount.ambushes.clear()
    sealing = story.catch(third, Place("write_block", "claims/", SEAL_OFFSET, Role.ELECT), "before")

    def overlook(call: Call) -> bool:
        call.mount.trouble.fails_once = True
        story.ambushes.wait(second, Place("open", names.claim(3)), "before", overlook)
        return False

    story.ambushes.wait(second, Place("open", names.claim(3)), "before", overlook)
    story.until(sealing, 20.0)
    second.mount.release()
    story.until(lambda: second.serves)
    answer = story.ask(second, "PUT", "k", b"acknowledged")()
    if answer.status != 201:
        raise Violation(f"the story does not go on: {answer.status}")
    third.mount.release()
    story.until(lambda: third.serves)
    if (answer := story.ask(third, "GET", "k")()).body != b"acknowledged":
        raise Violation(f"an acknowledged write is gone: {answer.status}")
    story.clients.start(2)


def _followed_before_it_serves(story: Story) -> None:
    story.until(lambda: all(worker.role in {Role.MAIN, Role.BACKUP} for worker in story.workers.values()))
    first = story.main()
    others = story.others(first)
    story.ask(first, "PUT", "k", b"committed")()
    appended = story.catch(first, Place("sync", "segments/", role=Role.MAIN), "after")
    unknown = story.ask(first, "PUT", "k", b"not known to be committed")
    story.until(appended)
    pointed = {
        worker: story.catch(worker, Place("write_block", "claims/", POINTER_OFFSET, Role.ELECT), "after")
        for worker in others
    }
    first.kill(machine=False)
    story.until(lambda: any(done() for done in pointed.values()))
    second, third = sorted(others, key=lambda worker: not pointed[worker]())
    second.kill(machine=False)
    first.start()
    story.until(pointed[third])
    story.until(lambda: first.log is not None and first.log.state.followed_epoch == 3)
    story.for_seconds(0.5)
    third.mount.release()
    with suppress(TimeoutError):
        unknown()
    story.clients.start(2)
    story.main()


def _first_segment(story: Story) -> Inode:
    """Wait until the first segment has some batches, and return it."""
    segment = story.disk.find(names.segment(1, 1))
    assert segment is not None
    story.until(lambda: len(story.faults.pages_before_a_batch(segment, 1, 1)) > 1)
    return segment


def _corrupt_below_a_cut(story: Story) -> None:
    first = story.main()
    segment = _first_segment(story)
    first.kill(machine=False)
    story.main()
    for worker in story.workers.values():
        worker.kill(machine=False)
    story.faults.corrupt(segment, story.faults.pages_before_a_batch(segment, 1, 1)[0])
    for worker in story.workers.values():
        worker.start()
    story.for_seconds(4.0)


def _corrupt_before_the_last_batch(story: Story) -> None:
    """Nobody has told in the folder yet that what is corrupt was committed; a batch behind it tells that it was."""
    story.main()
    segment = _first_segment(story)
    for worker in story.workers.values():
        worker.kill(machine=False)
    story.faults.corrupt(segment, story.faults.pages_before_a_batch(segment, 1, 1)[-1])
    for worker in story.workers.values():
        worker.start()
    story.for_seconds(4.0)


def _claim_of_a_main_that_nobody_heard(story: Story) -> None:
    """As in a copied folder: the claim and the manifest are those of a main that lives elsewhere, or nowhere."""
    second = story.others(story.main())[0]
    for worker in story.workers.values():
        worker.kill(machine=False)
    second.start()
    story.until(lambda: second.log is not None and second.log.state.served_epoch == 1)
    answer = story.ask(second, "PUT", "k0", b"x")()
    if answer.status == 307:
        raise Violation(f"{second.name} redirects to {answer.headers['location']}, which it has never heard")
    story.main()


def _death_that_is_hidden(story: Story) -> None:
    main = story.main()
    story.for_seconds(1.0)
    story.network.attacker.begin({Trick.REPEAT})
    main.kill(machine=True)
    story.main()


def _invented_commit_position(story: Story) -> None:
    main = story.main()
    story.network.attacker.begin({Trick.INVENT})
    story.for_seconds(1.0)
    main.kill(machine=True)
    story.main()


def _corrupt_and_restored(story: Story) -> None:
    main = story.main()
    segment = _first_segment(story)
    for worker in story.workers.values():
        worker.kill(machine=False)
    page = story.faults.pages_before_a_batch(segment, 1, 1)[0]
    whole = segment.durable[page]
    story.faults.corrupt(segment, page)
    for worker in story.workers.values():
        worker.start()
    story.for_seconds(20.0)
    story.has_claimed_at_most(1 + 1)
    told = [alert for worker in story.workers.values() if worker.log for alert in worker.log.book.open]
    if not any(alert.kind is Verdict.TAKEOVER_FAILED and "offset" in alert.message for alert in told):
        raise Violation(f"nobody says why there is no main any more after {main.name}: {told}")
    segment.seen[page] = segment.durable[page] = whole
    story.main()
    story.world.rotten = False


def _all_dead(story: Story) -> list[Worker]:
    """Kill all workers, after each has shown what it knows."""
    story.for_seconds(3.0)
    workers = list(story.workers.values())
    for worker in workers:
        worker.kill(machine=False)
    return workers


def _start_and_wait_in_vain(story: Story, workers: list[Worker]) -> None:
    story.world.rotten = True
    for worker in workers:
        worker.start()
    story.for_seconds(20.0)
    if any(worker.serves for worker in workers):
        raise Violation("the folder lost what was acknowledged, its members knew it, and the rest is served")


def _end_of_the_log_is_forgotten(story: Story) -> None:
    """An export that acknowledges syncs and forgets them: a restart of its server ends the log too early."""
    story.main()
    segment = _first_segment(story)
    workers = _all_dead(story)
    last = story.faults.pages_before_a_batch(segment, 1, 1)[0]
    whole = {inode: dict(inode.durable) for inode in story.disk.directories[names.SEGMENTS].seen.values()}
    for inode in whole:
        for page in [page for page in inode.durable if inode is not segment or page > last]:
            inode.seen.pop(page, None)
            inode.durable.pop(page, None)
    _start_and_wait_in_vain(story, workers)
    story.has_claimed_at_most(1 + 1)
    told = [alert for worker in workers if worker.log for alert in worker.log.book.open]
    if not any(alert.kind is Verdict.TAKEOVER_FAILED and "offset" in alert.message for alert in told):
        raise Violation(f"nobody says that the log ends too early: {told}")
    for inode, pages in whole.items():
        inode.seen, inode.durable = dict(pages), dict(pages)
    story.main()
    story.world.rotten = False


def _everything_is_forgotten(story: Story) -> None:
    """The same, and all files of the main are gone; those of the members were written before."""
    story.main()
    workers = _all_dead(story)
    story.start_overseer_anew()
    directories = [story.disk.directories[name] for name in (names.CLAIMS, names.MANIFESTS, names.SEGMENTS)]
    kept = [(dict(directory.seen), dict(directory.durable)) for directory in directories]
    for directory in directories:
        directory.seen.clear()
        directory.durable.clear()
    _start_and_wait_in_vain(story, workers)
    story.has_claimed_at_most(0)
    for directory, (seen, durable) in zip(directories, kept, strict=True):
        directory.seen.update(seen)
        directory.durable.update(durable)
    story.main()
    story.world.rotten = False


def _always_fails(story: Story, workers: list[Worker], place: Place) -> Callable[[], None]:
    """Let each operation of a kind fail at these workers; return what repairs it."""
    repaired = False

    def break_next(worker: Worker) -> None:
        def fail(call: Call) -> bool:
            del call
            worker.mount.trouble.fails_once = not repaired
            story.world.after(0.0, lambda: break_next(worker))
            return False

        if not repaired:
            story.ambushes.wait(worker, place, "before", fail)

    def repair() -> None:
        nonlocal repaired
        repaired = True

    for worker in workers:
        break_next(worker)
    return repair


def _seal_that_cannot_be_read(story: Story) -> None:
    """A main is paused, replaced, and wakes up where each look at its own seal fails."""
    former = story.main()
    story.until(lambda: all(worker.role is Role.BACKUP for worker in story.others(former)))
    story.for_seconds(1.0)
    former.pause()
    story.until(lambda: any(worker.serves for worker in story.others(former)))
    _always_fails(story, [former], Place("read", names.claim(1), SEAL_OFFSET))
    present = next(worker for worker in story.others(former) if worker.serves)
    if (answer := story.ask(present, "PUT", "k", b"new")()).status != 201:
        raise Violation(f"the story does not go on: {answer.status}")
    read, written = story.ask(former, "GET", "k"), story.ask(former, "PUT", "other", b"x")
    former.resume()
    told = read().status, written().status
    if not {200, 201, 404}.isdisjoint(told):
        raise Violation(f"{former.name} answered as a main after it was replaced: {told}")
    story.clients.start(2)


def _lacks_the_key(story: Story) -> None:
    """Encryption is turned on at the main alone, which then dies; the others get the key late."""
    main = story.main()
    others = story.others(main)
    story.until(lambda: all(worker.role is Role.BACKUP for worker in others))
    story.disk.keys = main.mount.keys = story.vault.keys(1)
    story.until(lambda: all(worker.log is not None and worker.log.state.lacking for worker in others))
    story.for_seconds(1.0)
    told = [alert for worker in others if worker.log for alert in worker.log.book.open]
    if sum(alert.kind is Verdict.TAKEOVER_FAILED and "encrypted" in alert.message for alert in told) < len(others):
        raise Violation(f"not all say that they lack a key: {told}")
    claimed = story.epoch()
    main.kill(machine=False)
    story.for_seconds(10.0)
    story.has_claimed_at_most(claimed)
    for worker in others:
        worker.mount.keys = story.vault.keys(1)
    story.main()


def _rotates(story: Story) -> None:
    """Encryption is turned on, then another key is written with; when no segment needs the old one, it is removed."""
    main = story.main()
    story.disk.keys = story.vault.keys(None)
    mounts = [worker.mount for worker in story.workers.values()]

    def is_done() -> bool:
        main = next((worker.log for worker in story.workers.values() if worker.serves), None)
        used = set() if main is None else {use.key for use in main.keyring.uses if use.segments}
        return used == {mounts[0].keys.current}

    for current, lines in ((0, (0,)), (1, (0, 1))):
        for mount in mounts:
            mount.keys = story.vault.keys(current, lines)
        story.until(is_done)
        main = story.main()
    for mount in mounts:
        mount.keys = story.vault.keys(1, (1,))
    story.disk.keys = mounts[0].keys
    main.kill(machine=False)
    story.main()
    main.start()
    story.until(lambda: _all_live(story))


def _no_manifest_can_be_written(story: Story) -> None:
    main = story.main()
    repair = _always_fails(story, story.others(main), Place("link", "manifests/"))
    main.kill(machine=False)
    story.for_seconds(25.0)
    story.has_claimed_at_most(1 + 14)
    repair()
    story.main()


def _nothing_can_be_committed(story: Story) -> None:
    story.main()
    repair = _always_fails(story, list(story.workers.values()), Place("sync", "segments/", role=Role.MAIN))
    story.for_seconds(25.0)
    story.has_claimed_at_most(1 + 21)
    told = [alert for worker in story.workers.values() if worker.log for alert in worker.log.book.open]
    if not any(alert.kind is Verdict.TAKEOVER_FAILED and "could not commit" in alert.message for alert in told):
        raise Violation(f"nobody says that nothing can be committed: {told}")
    repair()
    story.main()


def _way_to_the_folder_is_cut(story: Story) -> None:
    """The mount of the main hangs, those of the others work; it takes as long as if the main said nothing."""
    main = story.main()
    story.for_seconds(2.0)  # all have heard of each other
    main.mount.trouble.hangs_until = story.world.now + 60.0
    patience = TIMING.suspect_after + TIMING.probe_timeout + 3 * TIMING.keepalive_interval
    assert patience < TIMING.stall_limit + TIMING.probe_timeout
    story.until(lambda: any(worker.serves for worker in story.others(main)), patience)
    main.mount.release()
    story.main()


def _hears_that_it_was_replaced(story: Story) -> None:
    """The mount of the main hangs, so it cannot read who follows it; what others answer must be enough for it."""
    main = story.main()
    story.for_seconds(2.0)  # all have heard of each other
    main.mount.trouble.hangs_until = story.world.now + 60.0
    story.until(lambda: any(worker.serves for worker in story.others(main)))
    story.until(lambda: not main.serves, 4 * TIMING.keepalive_interval)
    main.mount.release()
    story.main()


def _gives_up(story: Story) -> None:
    """A main whose commit fails seals its epoch; nobody waits for an answer to a probe then."""
    main = story.main()
    repair = _always_fails(story, [main], Place("sync", "segments/", role=Role.MAIN))
    story.until(lambda: not main.serves)
    story.until(lambda: any(worker.serves for worker in story.workers.values()), TIMING.suspect_after + 0.25)
    repair()
    story.main()


def _claim_of_another_cluster(story: Story) -> None:
    """Somebody copies a claim of another cluster into the folder, and removes it again."""
    main = story.main()
    epoch = main.log.state.member.epoch if main.log else 0
    claim = Claim(
        epoch=epoch + 1,
        member="stranger",
        incarnation=32 * "5",
        nonce=32 * "6",
        advertise_url="http://stranger:3000",
        link_url="http://stranger:4000",
        folder_id=32 * "7",
        follows=epoch,
    )
    claims, name = story.disk.directories[names.CLAIMS], names.claim(epoch + 1).rpartition("/")[2]
    content = encode_claim(claim)
    story.world.rotten = True
    claims.seen[name] = claims.durable[name] = story.disk.new_inode(len(content), pages_of(content))
    story.for_seconds(2.0)
    if main.log is None or main.log.serving is None or main.log.serving.epoch != epoch:
        raise Violation(f"a claim of another cluster ended the epoch of {main.name}")
    story.main()
    del claims.durable[name]
    story.disk.forget_name(claims, name)
    story.for_seconds(1.0)
    story.world.rotten = False


def _notices(worker: Worker) -> bool:
    return worker.log is not None and bool(worker.log.state.host.displaced)


def _all_live(story: Story) -> bool:
    return all(worker.role in {Role.MAIN, Role.BACKUP} for worker in story.workers.values())


def _moved_away(story: Story) -> None:
    story.main()
    story.until(lambda: _all_live(story))
    kept = {name: dict(directory.seen) for name, directory in story.disk.directories.items()}
    for directory in story.disk.directories.values():
        directory.seen.clear()
    story.until(lambda: all(_notices(worker) for worker in story.workers.values()), 1.0)
    before = story.clients.acknowledged
    story.for_seconds(3.0)
    if story.clients.acknowledged > before:
        raise Violation("writes were acknowledged in a folder that is gone")
    for name, directory in story.disk.directories.items():
        if directory.seen and name != names.TEMPORARY:  # which matter to nobody else
            raise Violation(f"{min(directory.seen)} was made in {name or 'the folder'}, which is another one")
        directory.seen.update(kept[name])
    story.main()


def _another_volume(story: Story) -> None:
    main = story.main()
    other = Disk(story.world.random)
    for name, directory in story.disk.directories.items():
        copies = {base: other.new_inode(inode.size, inode.durable) for base, inode in directory.seen.items()}
        other.directories[name] = Directory(copies, dict(copies))
    other.directories[""].seen.pop(names.CLUSTER)
    del other.directories[names.TEMPORARY]
    kept = {name: sorted(directory.seen) for name, directory in other.directories.items()}
    seals = {inode: inode.read(SEAL_OFFSET, BLOCK_BYTES) for inode in other.directories[names.CLAIMS].seen.values()}
    main.mount.disk = other
    story.until(lambda: _notices(main), 1.0)
    story.for_seconds(0.3)
    if {name: sorted(directory.seen) for name, directory in other.directories.items()} != kept:
        raise Violation("names were made or removed in the folder of another cluster")
    if any(inode.read(SEAL_OFFSET, BLOCK_BYTES) != seal for inode, seal in seals.items()):
        raise Violation("an epoch of another cluster was sealed")
    main.mount.disk = story.disk
    story.main()


def _manifest_about_to_be_pointed_to(story: Story) -> None:
    first = story.main()
    story.until(lambda: _all_live(story))
    first.pause()
    pointing = Place("write_block", names.claim(2), role=Role.ELECT)
    caught = [story.catch(worker, pointing, "before") for worker in story.others(first)]
    story.until(lambda: any(done() for done in caught))
    assert first.log is not None
    first.resume()
    tidying = first.loop.spawn(Caretaker(first.log.state, first.log.tenure).tidy())
    story.until(tidying.done)
    story.until(lambda: not first.serves)
    story.goes_on_without(first)


STORIES: dict[str, tuple[Callable[[Story], None], Shape, Theme, str]] = {
    "no bug yet: a copy of a refused write comes late, over a line that was given up": (
        serving.copy_comes_late,
        CALM._replace(serves=True),
        GROWING,
        "an older line of a session is heard beside the newer one",
    ),
    "no bug yet: a refused write is being committed when its line is lost": (
        serving.copy_waits_in_the_queue,
        CALM._replace(serves=True),
        GROWING._replace(history_seconds=3600.0),  # no commit is one of history
        "what waits in the queue is not here",
    ),
    "no bug yet: a read comes to a backup while the answer for an earlier one is late": (
        serving.read_comes_while_an_answer_is_late,
        CALM._replace(serves=True),
        GROWING,
        "reads that came later get an older question's answer",
    ),
    "no bug yet: a backup's session is ended while its writes wait for their outcomes": (
        serving.session_is_lost,
        CALM._replace(serves=True),
        GROWING,
        "the outcome of what was sent is given up as not done",
    ),
    "no bug yet: a transaction is being committed when its line is lost": (
        serving.line_is_lost_under_a_transaction,
        CALM._replace(serves=True),
        GROWING,
        "a call that may have been carried out is sent again",
    ),
    "no bug yet: a backup asks a main on that was replaced while it slept": (
        serving.former_main_is_asked,
        CALM._replace(serves=True),
        GROWING,
        "a read index without a check",
    ),
    "no bug yet: encryption is turned on, the keys are rotated, and the old one is removed": (
        _rotates,
        CALM,
        GROWING,
        "segments with an older key stay as they are",
    ),
    "no bug yet: a main writes with a key that the others lack, and dies": (
        _lacks_the_key,
        CALM,
        GROWING,
        "who lacks a key of the log asks for a takeover",
    ),
    "seed 92: a claim is adopted, the file server forgets it, and its epoch is claimed by another one": (
        _adopted_before_it_is_durable,
        CALM,
        GROWING,
        "the name of a claim is not synced",
    ),
    "seed 124: a manifest that has no name any more is pointed to": (
        _manifest_without_a_name,
        CALM,
        GROWING,
        "a manifest that is not read back",
    ),
    "seed 1608: everybody waits for an epoch that the file server forgot": (
        _remembered_before_it_is_durable,
        CALM,
        GROWING,
        "a claim that is remembered before it is durable",
    ),
    "seed 102: a forgotten claim is found in a cache of names": (
        _found_in_a_cache_of_names,
        CALM._replace(caches_names=True),
        GROWING,
        "a claim that is read back from a cache of names",
    ),
    "seed 500122: a member lives in a slot that the file server forgot, and the main does not know it": (
        _slot_that_is_forgotten,
        CALM,
        GROWING,
        "a slot that was found is not made durable",
    ),
    "no bug yet: slots run out, and a member that was paused for long has lost its own": (
        _slots_run_out,
        CALM._replace(workers=4),
        GROWING,
        "a member goes on in a slot that was given to another",
    ),
    "no bug yet: slots run out, and all belong to members that live": (
        _slots_run_out,
        CALM._replace(workers=4),
        GROWING,
        "the slot of a member that lives is given to another",
    ),
    "seed 22: an idle main compacts for ever what its compactions leave behind": (
        _idle_main,
        CALM,
        ANYTHING,
        "what a compaction itself leaves counts as garbage",
    ),
    "seed 1489: a value that has moved is taken for what its key holds now": (
        _value_that_moves,
        CALM._replace(clients=0),
        ANYTHING._replace(cache_bytes=(4 << 10,)),
        "a value that has moved is taken for what its key holds now",
    ),
    "no bug yet: a value is replaced while it is read from the volume": (
        _value_that_is_replaced,
        CALM._replace(clients=0),
        ANYTHING._replace(compact_bytes=1 << 20, cache_bytes=(28 << 10,)),
        "a value is kept at hand although its key has another one by now",
    ),
    "no bug yet: a backup begins while the main shows what it was before a write": (
        _copied_while_the_main_shows_itself,
        CALM._replace(clients=0),
        GROWING,
        "a backup believes a block that was on its way when it began",
    ),
    "no bug yet: a paused main tidies up while its successor is about to point to its manifest": (
        _manifest_about_to_be_pointed_to,
        CALM,
        GROWING,
        "a manifest is removed whose claim is about to point to it",
    ),
    "a main serves between the look at its claim and the seal in it": (
        _serves_between_a_look_and_a_seal,
        CALM._replace(clients=0),
        GROWING,
        "the predecessor determined before the seals",
    ),
    "seed 101: a backup applies what an epoch begins with that nobody knows to serve": (
        _followed_before_it_serves,
        CALM._replace(clients=0),
        GROWING,
        "an epoch is followed before it serves",
    ),
    "seed 2006826: a takeover that waited for space empties the copy of a backup that reads on": (
        _takes_over_too_late,
        CALM,
        GROWING,
        "a takeover that comes too late empties a copy and reads on",
    ),
    "no bug yet: a batch of an older segment is corrupt, and everybody starts cold": (
        _corrupt_below_a_cut,
        CALM,
        GROWING._replace(snapshot_bytes=1 << 30),
        "a bad batch below the commit position is skipped",
    ),
    "no bug yet: a batch is corrupt behind which a committed one stands, and everybody starts cold": (
        _corrupt_before_the_last_batch,
        CALM,
        GROWING._replace(snapshot_bytes=1 << 30),
        "a torn middle is skipped",
    ),
    "no bug yet: a delete is merged whose value lies in a segment that is left as it is": (
        _delete_that_is_merged,
        CALM._replace(clients=0),
        ANYTHING._replace(compact_share=0.5),
        "a compaction drops deletes that older segments need",
    ),
    "found in use: a worker on a copied folder sends its clients to the main of the original": (
        _claim_of_a_main_that_nobody_heard,
        CALM,
        GROWING,
        "a claim counts as a word of its main",
    ),
    "found in use: repeated keep-alives of a dead main hide its death": (
        _death_that_is_hidden,
        CALM,
        GROWING,
        "a keep-alive counts however old it is",
    ),
    "found in use: an invented commit position makes every takeover fail": (
        _invented_commit_position,
        CALM,
        GROWING,
        "a keep-alive counts whoever made it",
    ),
    "found in use: a changed byte makes every takeover fail, and each one costs an epoch": (
        _corrupt_and_restored,
        CALM,
        GROWING._replace(snapshot_bytes=1 << 30),
        "an epoch is claimed that cannot serve, again and again",
    ),
    "no bug yet: a main wakes up after it was replaced, and cannot read its own seal": (
        _seal_that_cannot_be_read,
        CALM._replace(clients=0),
        GROWING,
        "a check that is not known counts as unsealed",
    ),
    "found in use: no takeover can write its manifest, and each one costs an epoch": (
        _no_manifest_can_be_written,
        CALM,
        GROWING,
        "one's own failures do not lengthen the wait",
    ),
    "found in use: every takeover succeeds, no commit does, and each one costs an epoch": (
        _nothing_can_be_committed,
        CALM,
        GROWING,
        "epochs that commit nothing do not lengthen the wait",
    ),
    "found in use: the way from the main to the folder is cut, and for long nobody takes over": (
        _way_to_the_folder_is_cut,
        CALM,
        GROWING,
        "a main does not say that its folder hangs",
    ),
    "found in use: a main whose folder hangs keeps its clients waiting after it was replaced": (
        _hears_that_it_was_replaced,
        CALM,
        GROWING,
        "a main whose folder hangs does not believe that it was replaced",
    ),
    "found in use: a main that gave up is probed all the same": (
        _gives_up,
        CALM,
        GROWING,
        "the seal of a main is no word about it",
    ),
    "a planned successor dies before it claims": (
        switchovers.successor_dies,
        CALM,
        GROWING,
        "anybody follows at once where the seal names a successor",
    ),
    "found in use: a claim of another cluster is copied into the folder": (
        _claim_of_another_cluster,
        CALM,
        GROWING,
        "nobody compares whose folder a claim is of",
    ),
    "found in use: the folder is moved away under a running cluster, and put back": (
        _moved_away,
        CALM,
        GROWING,
        "a main goes on in a folder that is gone",
    ),
    "found in use: another volume is mounted under a running main": (
        _another_volume,
        CALM,
        GROWING,
        "a main seals by name in the folder of another cluster",
    ),
    "found in use: backups that are late in every turn replace a main that needs a while": (
        pauses.late_observers,
        CALM,
        GROWING,
        "a pause of one's own is a silence of others",
    ),
    "found in use: on a slow volume nobody answers a probe in time": (
        pauses.slow_folder,
        CALM,
        GROWING,
        "a slow folder gives the main no more time",
    ),
    "found in use: a main that pauses now and then is replaced each time": (
        pauses.main_pauses_again,
        CALM,
        GROWING,
        "what a main tells of its pauses is ignored",
    ),
    "found in use: a file server comes back for the main last": (
        pauses.returns_to_the_main_last,
        CALM,
        GROWING,
        "a folder that was away is back for all at once",
    ),
    "found in use: a file server forgets the end of the log, and all members start anew": (
        _end_of_the_log_is_forgotten,
        CALM,
        GROWING._replace(snapshot_bytes=1 << 30),
        "nobody remembers how far the log was committed",
    ),
    "found in use: a file server forgets every claim, and all members start anew": (
        _everything_is_forgotten,
        CALM,
        GROWING,
        "nobody remembers which epochs were claimed",
    ),
    "a main that was stopped redirects still, and its successor is stopped too": (
        departures.next_main_is_stopped_too,
        CALM,
        GROWING,
        "who is being stopped takes over",
    ),
    "leases: a main that was replaced is asked to renew one": (
        leasing.renewal_at_a_main_that_was_replaced,
        CALM,
        GROWING,
        "a keep-alive is answered without a check",
    ),
    "leases: a main dies after what remains of one was noted": (
        leasing.death_after_a_checkpoint,
        CALM,
        GROWING,
        "every takeover gives leases their whole time again",
    ),
    "leases: a main dies after a late renewal": (
        leasing.death_after_a_late_renewal,
        CALM,
        GROWING,
        "a renewal is told that the log knows nothing of",
    ),
    "watches: a backup follows an epoch that does not serve, after a takeover of its own has failed": (
        watching.copy_of_a_takeover_that_failed,
        CALM._replace(clients=0, serves=True, patience=20.0),
        GROWING,
        "a backup tells watchers what nobody has committed",
    ),
    "seed 321: a worker that is taking over refuses a read": (
        watching.refusal_during_a_takeover,
        CALM._replace(clients=0),
        GROWING,
        "a refusal tells a revision that a takeover has read",
    ),
}


def play(name: str) -> str | None:
    """Return the violation that a story ends with."""
    script, shape, theme, _ = STORIES[name]
    return Story(script, shape, theme).play().violation
