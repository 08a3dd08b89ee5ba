"""Hooks of the witness in the production code, where decisions are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from hanas_core.epochs import takeover
from hanas_core.epochs.takeover import Promotion
from hanas_core.log import records
from hanas_core.log.batches import Batch
from hanas_core.log.cells import checksum_of, sums_of
from hanas_core.log.claimfile import Claim
from hanas_core.log.epochlog import EpochLog
from hanas_core.log.positions import Position
from hanas_core.log.seals import SealWatch
from hanas_core.members.detector import Detector
from hanas_core.members.member import Effect, Member
from hanas_core.state.changes import Lost
from hanas_core.state.entries import Entry
from hanas_core.state.index import Index
from hanas_core.upkeep import compaction
from hanas_core.volume import names
from hanas_core.volume.errors import Corruption
from hanas_core.volume.folder import Folder
from hanas_worker.log.feeds import Changes, Feed
from hanas_worker.log.hearing import Hearing
from hanas_worker.log.news import LogNews
from hanas_worker.log.service import Reader, Service
from hanas_worker.log.values import Values
from hanas_worker.refusals import Refusal
from hanas_worker.store import Store
from tests.sim.attacker import FORGED
from tests.sim.mount import Mount, OpenFile
from tests.sim.seams import running_loop
from tests.sim.witness import Witness, payload


@contextmanager
def hearing(witness: Witness) -> Iterator[None]:
    """Install the hooks in the production code."""
    append, relog, apply, promote = EpochLog._append, EpochLog.relog, Index.apply, takeover.promote
    commit, check, see = EpochLog.commit, EpochLog.check, Member.see
    read_value, heard, hear = Values.read, Detector.heard, Hearing.hear
    take, confirm = Feed.take, Store.confirm
    seal_check, after_check, roll = SealWatch.check, Service.after_check, compaction.roll

    async def hear_append(log: EpochLog, batch: Batch) -> Position:
        position = await append(log, batch)
        witness.batch_committed(log, batch, position)
        return position

    async def hear_commit(log: EpochLog, batch: Batch) -> Position:
        position = await commit(log, batch)
        log.check_invariants()
        if batch.count == 0:
            witness.commits_of[position.epoch] += 1
        return position

    async def hear_check(log: EpochLog) -> Position:
        position = await check(log)
        if isinstance(log._file, OpenFile) and log._file.mount.disk is witness.disk:
            witness.served_from.setdefault(position.epoch, witness.world.now)
        return position

    async def hear_relog(log: EpochLog, batches: list[Batch]) -> list[Batch]:
        witness.relogs(log._header.epoch, batches)
        return await relog(log, batches)

    def hear_apply(index: Index, batch: Batch, found: list[records.Record] | None = None) -> None:
        witness.applied(index, batch)
        try:
            apply(index, batch, found)
            index.check_invariants()
        except Corruption as raised:
            if not witness.world.rotten:
                witness.world.accuse(f"{running_loop().name} misses what nobody spoilt: {raised}")
            raise

    async def hear_seal_check(watch: SealWatch) -> None:
        witness.moment += 1
        began = witness.moment
        await seal_check(watch)
        witness.checked[watch] = began

    def hear_after_check(service: Service, reader: Reader) -> None:
        witness.moment += 1
        asked = witness.moment

        def hear(epoch: int | None) -> None:
            if epoch is not None:
                witness.passed(service, asked)
            reader(epoch)

        after_check(service, hear)

    async def hear_value(values: Values, key: bytes, entry: Entry, part: tuple[int, int]) -> bytes:
        value = await read_value(values, key, entry, part)
        if part == (0, entry.size) and checksum_of(value, sums_of(value)) != entry.checksum:
            witness.world.accuse(f"what was read of {key!r} is not its value of {entry.version}")
        return value

    def hear_heard(detector: Detector, now: float, epoch: int, incarnation: str, **told: Any) -> None:
        witness.heard(incarnation)
        heard(detector, now, epoch, incarnation, **told)

    def hear_news(hearing: Hearing, incarnation: str, news: LogNews, *, fresh: bool) -> int:
        if news.sequence == FORGED:
            witness.world.accuse(f"{running_loop().name} believes a keep-alive that an attacker made")
        return hear(hearing, incarnation, news, fresh=fresh)

    def hear_see(member: Member, now: float, claim: Claim, unserved: int) -> list[Effect]:
        effects = see(member, now, claim, unserved)
        member.check_invariants()
        if member.claim is claim and witness.looks_ahead:
            witness.remembers(member, claim)
        return effects

    async def hear_promote(*arguments: Any, **named: Any) -> Promotion:
        name = running_loop().name
        node = witness.workers[name].node
        if node is None or arguments[1].incarnation != node.host.incarnation:
            witness.world.accuse(f"{name} takes over in epoch {arguments[1].epoch}, which another incarnation claimed")
        witness.promoting.add(name)
        try:
            promotion = await promote(*arguments, **named)
        finally:
            witness.promoting.discard(name)
        arguments[2].check_invariants()
        if arguments[0].disk is witness.disk:
            witness.promoted(arguments[1].epoch, arguments[2].index)
        return promotion

    async def hear_roll(folder: Folder, claim: Claim, **named: Any) -> Promotion:
        found = witness.disk.find(names.claim(claim.epoch))
        held = None if found is None else msgspec.json.decode(payload(found, 0), type=Claim)
        ours = isinstance(folder, Mount) and folder.disk is witness.disk
        if ours and held != claim:
            witness.world.accuse(f"{claim.member} goes on in epoch {claim.epoch}, which is not its own")
        promotion = await roll(folder, claim, **named)
        if ours:
            witness.rolled(claim.epoch)
        return promotion

    def hear_take(feed: Feed, most: int) -> Changes | Lost:
        changes = take(feed, most)
        witness.taken(feed.position)
        return changes

    def hear_confirm(store: Store, done: Callable[[int | Refusal], None]) -> None:
        shown = witness.network.shown

        def hear(present: int | Refusal) -> None:
            if isinstance(present, int):
                witness.confirmed(present, shown)
            done(present)

        confirm(store, hear)

    with (
        patch.object(Feed, "take", hear_take),
        patch.object(Store, "confirm", hear_confirm),
        patch.object(compaction, "roll", hear_roll),
        patch.object(EpochLog, "_append", hear_append),
        patch.object(EpochLog, "relog", hear_relog),
        patch.object(EpochLog, "commit", hear_commit),
        patch.object(EpochLog, "check", hear_check),
        patch.object(Index, "apply", hear_apply),
        patch.object(takeover, "promote", hear_promote),
        patch.object(Member, "see", hear_see),
        patch.object(SealWatch, "check", hear_seal_check),
        patch.object(Service, "after_check", hear_after_check),
        patch.object(Values, "read", hear_value),
        patch.object(Detector, "heard", hear_heard),
        patch.object(Hearing, "hear", hear_news),
    ):
        yield
