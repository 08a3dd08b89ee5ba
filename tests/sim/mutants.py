"""Deliberately broken variants of the protocol: the campaign must catch each within a stated number of seeds.

`make sim-mutants` applies one after the other and runs seeds until a check fails. A mutant is the name of a function
and a replacement in its source, so it cannot outlive a change of the code that it breaks: its text must occur exactly
once.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from types import CodeType, FunctionType
from typing import NamedTuple

from tests.sim.simulation import run
from tests.sim.stories import play


class Mutant(NamedTuple):
    """``place`` is module:function; ``change`` is old and new text of its source, one pair or several."""

    name: str
    place: str
    change: tuple[tuple[str, str], ...]
    seeds: int = 200
    """Limit of seeds within which it must be caught."""
    also: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = ()
    """Other places and changes, where a second line of defence would hide the first one's absence."""
    story: str = ""
    """One of `tests.sim.stories`, run before the seeds, which hardly ever reach it."""


def _one(old: str, new: str) -> tuple[tuple[str, str], ...]:
    return ((old, new),)


_APPEND = "hanas_core.log.epochlog:EpochLog._sync_and_check"
_PROMOTE = "hanas_core.epochs.takeover:promote"
_SETTLE = "hanas_core.volume.publish:settle"
_SYNC_NAME, _LOOK_UP_ANEW = "await folder.sync_directory(directory)", "await folder.refresh(directory)"
_SYNC, _CHECK = "await self._file.sync()", "await self._watch.check()"
_SEALS = "    await seal_below(folder, claim)\n"
_PREDECESSOR = "    predecessor = await find_predecessor(folder, claim.epoch)\n"

MUTANTS = (
    # ------------------------------------------------------------------ the commit rule
    Mutant("no seal check", _APPEND, _one(f"    {_CHECK}\n", "")),
    Mutant(
        "a check that began before the sync returned", _APPEND, ((_SYNC, "HERE"), (_CHECK, _SYNC), ("HERE", _CHECK))
    ),
    Mutant("a check now and then", _APPEND, _one(_CHECK, f"if self.end % 3 == 0: {_CHECK}")),
    Mutant("acknowledgement before the sync", _APPEND, _one(f"    {_SYNC}\n", "")),
    Mutant(
        "a sync that failed is repeated",
        _APPEND,
        _one(f"    {_SYNC}\n", f"    try: {_SYNC}\n    except OSError: pass\n    except Exception: {_SYNC}\n"),
        1000,
    ),
    Mutant(
        "a check that is not known counts as unsealed",
        "hanas_core.log.seals:SealWatch.check",
        _one(
            "if await self._file.read(SEAL_OFFSET, BLOCK_BYTES) != ZERO_BLOCK:",
            "try: block = await self._file.read(SEAL_OFFSET, BLOCK_BYTES)\n"
            "    except Exception: return\n"
            "    if block != ZERO_BLOCK:",
        ),
        1000,
        story="no bug yet: a main wakes up after it was replaced, and cannot read its own seal",
    ),
    Mutant(
        "a successor is looked up by name instead of reading the own seal",
        _APPEND,
        _one(
            _CHECK,
            "from hanas_core.volume.errors import Missing\n"
            "    try: await self._folder.open(f'claims/{self._header.epoch + 1:010d}', 'read')\n"
            "    except Missing: pass\n"
            "    else: raise Sealed",
        ),
        1000,
    ),
    Mutant(
        "an offset rewritten after an abandoned write",
        "hanas_worker.log.service:Service._commit_once",
        _one(
            "            self.end(",
            "            if not isinstance(error, Sealed) and self.log.committed is not None:\n"
            "                self._answer(self._queue.ended())\n"
            "                self.log.end, self.log._ended = self.log.committed.offset, False\n"
            "                return True\n"
            "            self.end(",
        ),
        1000,
    ),
    Mutant(
        "the next append before the check of the one before",
        "hanas_core.log.epochlog:EpochLog._append",
        _one(
            "    await self._write(batch)\n",
            "    await self._write(batch)\n"
            "    if batch.count and self.left > 4096:\n"
            f"        {_SYNC}\n"
            "        self.committed = position = Position(self._header.epoch, self._header.number, self.end)\n"
            '        await self._write(Batch(self._header.epoch, 0, 0, b""))\n'
            f"        {_CHECK}\n"
            "        return position\n",
        ),
        1000,
    ),
    # ------------------------------------------------------------------ encryption
    Mutant(
        "a value is encrypted for its place in itself",
        "hanas_core.log.cells:encrypt",
        _one("cipher.encrypt(offset + at,", "cipher.encrypt(at,"),
        also=(("hanas_core.log.cells:decrypt", _one("cipher.decrypt(offset + at,", "cipher.decrypt(at,")),),
    ),
    Mutant(
        "a batch that is re-logged is encrypted for the place that it had",
        "hanas_core.log.epochlog:EpochLog._write",
        _one("encrypt(placed, cipher)", "encrypt(batch if batch.encrypted else placed, cipher)"),
    ),
    Mutant(
        "an epoch that follows goes on with the data key of the one before",
        "hanas_core.log.segments:cipher_of",
        _one("{header.epoch} {header.number}", ""),
        also=(("hanas_core.volume.encryption:Keys.begin", _one("salt()", "'5' * 32")),),
    ),
    Mutant(
        "a place in an encrypted segment is counted as in a plain one",
        "hanas_core.state.index:Places.make_way",
        _one("self.begin += widening(size)", "pass"),
    ),
    Mutant(
        "who lacks a key of the log asks for a takeover",
        "hanas_worker.log.driver:LogDriver.challenge",
        _one("if state.lacking is not None:", "if state.member.twin:"),
        story="no bug yet: a main writes with a key that the others lack, and dies",
    ),
    Mutant(
        "segments with an older key stay as they are",
        "hanas_worker.log.compactor:Compactor._plan",
        _one("plan = compaction.plan_anew(sources, live, size, stale)", "return None"),
        story="no bug yet: encryption is turned on, the keys are rotated, and the old one is removed",
    ),
    # ------------------------------------------------------------------ who is the main
    Mutant(
        "a claim counts as a word of its main",
        "hanas_core.members.detector:Detector.follow",
        _one(
            "self.epoch, self.incarnation = epoch, incarnation",
            "self.epoch, self._met = epoch, incarnation\n    self.incarnation = incarnation",
        ),
        story="found in use: a worker on a copied folder sends its clients to the main of the original",
    ),
    Mutant(
        "nobody compares whose folder a claim is of",
        "hanas_core.log.claims:_own",
        _one("    identity.check(folder, claim.folder_id, names.claim(epoch))\n", ""),
        story="found in use: a claim of another cluster is copied into the folder",
    ),
    Mutant(
        "who is being stopped takes over",
        "hanas_worker.log.driver:LogDriver.look",
        _one("not (host.leaving or member.blind)", "not member.blind"),
        story="a main that was stopped redirects still, and its successor is stopped too",
    ),
    # ------------------------------------------------------------------ the read rule
    Mutant(
        "a read without a check",
        "hanas_worker.log.service:Service.after_check",
        _one("self._readers.append(reader)", "reader(self.epoch)"),
    ),
    Mutant(
        "a read served by a check that began before it came",
        "hanas_worker.log.service:Service._check_for_ever",
        _one("_tell_readers(checked, self.epoch)", "_tell_readers([*checked, *self._readers], self.epoch)"),
        1000,
    ),
    Mutant(
        "a read that sees a batch in flight",
        "hanas_core.state.queue:GroupCommit.next_batch",
        _one(
            "    return self._in_flight",
            "    self._replica.apply(self._in_flight, changes)\n    return self._in_flight",
        ),
    ),
    Mutant(
        "a 404 or 412 before what it rests on is committed",
        "hanas_core.state.queue:GroupCommit.next_batch",
        _one(
            "self._answers.append((token, outcome))",
            "self._answers.append((token, outcome))\n"
            "        if record is None and write is not None: token(outcome, self._epoch)",
        ),
        1000,
    ),
    Mutant(
        "a condition judged against the committed state only",
        "hanas_core.state.judge:Judge.judge",
        _one("present = self._state.get(key)", "present = self._index.known(key)"),
        1000,
    ),
    Mutant(
        "idempotency keys are not kept",
        "hanas_core.state.remembered:Remembered.put",
        _one("self._done[idempotency_key] = done", "return"),
    ),
    # ------------------------------------------------------------------ forwarded writes
    Mutant(
        "a forwarded put is logged without its number",
        "hanas_core.state.judge:Judge._forwarded_put",
        _one("records.ForwardedPut(*fields, forwarded=forwarded)", "records.Put(*fields)"),
    ),
    Mutant(
        "a number is not looked up in its batch",
        "hanas_core.state.judge:Judge._judge_forwarded",
        _one("forwarder.outcomes.get(number) or recorded(session, number)", "recorded(session, number)"),
    ),
    Mutant(
        "a number is looked up in its batch only",
        "hanas_core.state.judge:Judge._judge_forwarded",
        _one(" or recorded(session, number)", ""),
        also=(("hanas_core.state.judge:recorded", _one("session.changes.get(number)", "None")),),
    ),
    Mutant(
        "a number gets the outcome of another one",
        "hanas_core.state.judge:recorded",
        _one("session.changes.get(number)", "session.changes.get(max(session.changes, default=0))"),
    ),
    Mutant(
        "the session that a member had before goes on",
        "hanas_core.state.sessions:Sessions.put",
        _one("known.member == content.member", "False"),
    ),
    Mutant(
        "whatever a forwarder asks about no more is kept",
        "hanas_core.state.sessions:Session.note",
        _one("if lowest > self.lowest:", "if False:"),
    ),
    Mutant(
        "a number is forgotten that may still be asked for",
        "hanas_core.state.sessions:Session.note",
        _one("if number >= self.lowest:", "if number > self.lowest:"),
    ),
    Mutant(
        "a compaction forgets the sessions",
        "hanas_core.upkeep.merging:Merger._needs_of_sessions",
        _one("self._index.sessions.get(Version(record.origin, record.sequence)) is not None", "False"),
    ),
    Mutant(
        "a compaction forgets what forwarded writes did",
        "hanas_core.upkeep.merging:Merger._needs_of_sessions",
        _one("session is not None and record.forwarded.number in session.changes", "False"),
    ),
    Mutant(
        "who reads a merged segment does not learn what forwarded writes did",
        "hanas_core.state.index:Index._apply_merged_valueless",
        _one("self.sessions.note(forwarded,", "(forwarded,"),
    ),
    Mutant(
        "a snapshot forgets the sessions",
        "hanas_core.state.snapshots:SnapshotFrames.__iter__",
        _one("range(0, len(self._sessions), SESSIONS_AT_ONCE)", "()"),
    ),
    # ------------------------------------------------------------------ claims
    Mutant(
        "a claim without a read-back",
        "hanas_core.log.claims:claim_epoch",
        _one(
            "return _own(folder, await publish(folder, temporary, names.claim(claim.epoch), content), claim.epoch)",
            "await folder.create(temporary, content)\n"
            "    await folder.link(temporary, names.claim(claim.epoch))\n"
            "    await folder.remove(temporary)\n"
            "    return claim",
        ),
    ),
    Mutant("the name of a claim is not synced", _SETTLE, _one(_SYNC_NAME, f"if directory != 'claims': {_SYNC_NAME}")),
    Mutant(
        "a claim that is remembered before it is durable",
        "hanas_core.log.claims:highest_claim",
        _one("while highest is not None and highest.epoch > at_least:", "while False:"),
    ),
    Mutant(
        "a claim that is read back from a cache of names",
        _SETTLE,
        _one(_LOOK_UP_ANEW, f"if directory != 'claims': {_LOOK_UP_ANEW}"),
        1000,
    ),
    Mutant(
        "a slot that was found is not made durable",
        "hanas_core.members.registry:Registry.slot_of",
        _one("if await self._is_for_good(own):", "if True:"),
        story="seed 500122: a member lives in a slot that the file server forgot, and the main does not know it",
    ),
    Mutant(
        "a member goes on in a slot that was given to another",
        "hanas_worker.node:Node._show",
        _one("if host.place_in_doubt:", "if False:"),
        story="no bug yet: slots run out, and a member that was paused for long has lost its own",
    ),
    Mutant(
        "the slot of a member that lives is given to another",
        "hanas_core.members.registry:vacant",
        _one("sign.silent >= VACANT_AFTER", "sign.silent >= 0.0"),
        story="no bug yet: slots run out, and all belong to members that live",
    ),
    Mutant(
        "a backup believes a block that was on its way when it began",
        "hanas_core.upkeep.copying:Commitment._is_later",
        _one("counter + _SHOWS", "counter + 1"),
        story="no bug yet: a backup begins while the main shows what it was before a write",
    ),
    Mutant(
        "whatever seal a main wrote itself is followed at once",
        "hanas_core.log.claimfile:Seal.invites",
        _one("self.planned and ", ""),
    ),
    Mutant(
        "anybody follows at once where the seal names a successor",
        "hanas_core.log.claimfile:Seal.invites",
        _one('self.planned and self.successor in {"", incarnation}', "self.planned"),
        story="a planned successor dies before it claims",
    ),
    Mutant(
        "adoption by the member's name",
        "hanas_core.members.member:Member.see",
        _one("claim.incarnation == self.incarnation", "claim.member == self.name"),
    ),
    Mutant(
        "the folder's id is not compared",
        "hanas_core.members.cluster:_check",
        _one("if expected is not None and", "if False and expected is not None and"),
        1000,
    ),
    # ------------------------------------------------------------------ seals and the order of a takeover
    Mutant("no seals", _PROMOTE, _one(_SEALS, "")),
    Mutant(
        "a visible seal is taken for durable",
        "hanas_core.log.seals:seal_below",
        _one(
            "await write_seal(folder, epoch, seal)",
            "if (await read_seal(folder, epoch)) is Blank.ZERO: await write_seal(folder, epoch, seal)",
        ),
        1000,
    ),
    Mutant(
        "only the last epoch is sealed",
        "hanas_core.log.seals:seal_below",
        _one("    if not isinstance(pointer, Blank):\n            break", "    break"),
    ),
    Mutant(
        "the predecessor determined before the seals",
        _PROMOTE,
        ((_PREDECESSOR, ""), (_SEALS, _PREDECESSOR + _SEALS)),
        story="a main serves between the look at its claim and the seal in it",
    ),
    Mutant(
        "the log read before the seals",
        _PROMOTE,
        ((_SEALS, ""), ('    progress("re-logging")\n', _SEALS + '    progress("re-logging")\n')),
    ),
    Mutant(
        "block 1 before the seals",
        _PROMOTE,
        ((_SEALS, ""), ("    applied = await log.check()\n", _SEALS + "    applied = await log.check()\n")),
    ),
    Mutant(
        "a rotten block 1 is taken for none",
        "hanas_core.epochs.takeover:find_predecessor",
        _one("if pointer is not Blank.ZERO:", "if not isinstance(pointer, Blank):")
        + _one("if pointer is Blank.ROTTEN:", "if False:"),
        1000,
    ),
    # ------------------------------------------------------------------ what is handed on
    Mutant("the tail beyond L is not re-logged", _PROMOTE, _one("await log.relog(beyond)", "await log.relog([])")),
    Mutant(
        "the tail beyond L is dropped", "hanas_core.epochs.takeover:_read", _one("if batch.count]", "if False]"), 1000
    ),
    Mutant(
        "re-logged batches are not synced", "hanas_core.log.epochlog:EpochLog.relog", _one(f"    {_SYNC}\n", ""), 1000
    ),
    Mutant(
        "re-logging gives new versions",
        "hanas_core.log.epochlog:EpochLog._write",
        _one("epoch=epoch,", "epoch=epoch, origin=epoch,"),
    ),
    Mutant(
        "sequences that begin behind the index only",
        _PROMOTE,
        _one("next_sequence = max(", "next_sequence = replica.index.sequence + 1 or max("),
    ),
    Mutant(
        "cuts of older segments are not copied",
        "hanas_core.log.tailer:Tailer.cuts",
        _one("return manifest.cuts + tuple(reversed(own))", "return tuple(reversed(own))"),
    ),
    Mutant(
        "a reader goes on behind the cut",
        "hanas_core.log.manifests:Manifest.resume",
        _one("return min(applied, Position(cut.epoch, cut.number, cut.end))", "return applied"),
        1000,
    ),
    Mutant(
        "a manifest whose name is not synced",
        _SETTLE,
        _one(_SYNC_NAME, f"if directory != 'manifests': {_SYNC_NAME}"),
        1000,
    ),
    Mutant(
        "a manifest that is not read back",
        "hanas_core.log.manifests:write_manifest",
        _one(
            "if await publish(folder, temporary, name, content) != content:",
            "await folder.create(temporary, content)\n"
            "    await folder.link(temporary, name)\n"
            "    await folder.sync_directory(names.MANIFESTS)\n"
            "    await folder.remove(temporary)\n"
            "    if False:",
        ),
        1000,
    ),
    Mutant(
        "a segment whose name is not synced",
        _SETTLE,
        _one(_SYNC_NAME, f"if directory != 'segments': {_SYNC_NAME}"),
        1000,
    ),
    # ------------------------------------------------------------------ rolling, backups, torn and rotten
    Mutant(
        "an acknowledgement in a new segment before the marker",
        "hanas_core.log.epochlog:EpochLog._roll",
        _one('    await self._append(Batch(old.epoch, 0, 0, b"", Kind.CONTINUES))\n', ""),
        500,
    ),
    Mutant(
        "a marker that is not synced and checked",
        "hanas_core.log.epochlog:EpochLog._roll",
        _one("await self._append(Batch(", "await self._write(Batch("),
        1000,
    ),
    Mutant(
        "a warm copy fed beyond the commit position",
        "hanas_core.log.tailer:Tailer._committed_part",
        _one(
            "while self._beyond and (self._beyond[0].epoch != manifest.epoch or "
            "self._beyond[0].position <= self.committed):",
            "while self._beyond:",
        ),
    ),
    Mutant(
        "a takeover that comes too late empties a copy and reads on",
        "hanas_core.state.replica:Replica.forget",
        _one("self.continue_from(NOWHERE)", "pass"),
        story="seed 2006826: a takeover that waited for space empties the copy of a backup that reads on",
    ),
    Mutant(
        "a backup goes on with what a takeover has made of its copy",
        "hanas_worker.log.tenure:Tenure.take_over",
        _one("state.followed_epoch = 0", "pass"),
        story="seed 2006826: a takeover that waited for space empties the copy of a backup that reads on",
    ),
    Mutant(
        "an epoch is followed before it serves",
        "hanas_core.log.tailer:Tailer.step",
        _one("if self.committed == NOWHERE and not await self._has_served(manifest):", "if False:"),
        story="seed 101: a backup applies what an epoch begins with that nobody knows to serve",
    ),
    Mutant(
        "re-logged batches taken for committed at block 1",
        "hanas_core.log.tailer:Tailer.follow",
        _one("return goes_on", "self.know_relogged()\n    return goes_on"),
        1000,
    ),
    Mutant(
        "a commit position of another epoch is believed",
        "hanas_core.log.tailer:Tailer.know",
        _one("committed.epoch == self.manifest.epoch and ", ""),
    ),
    Mutant(
        "a bad batch below the commit position is skipped",
        "hanas_core.log.tailer:Tailer.step",
        _one(" and self._read_to.offset < end_known:", " and False:"),
        1000,
        also=(("hanas_core.log.tailer:Tailer.finish", _one("if self.committed > self._read_to:", "if False:")),),
        story="no bug yet: a batch of an older segment is corrupt, and everybody starts cold",
    ),
    Mutant(
        "a torn middle is skipped",
        "hanas_core.log.tailer:Tailer.finish",
        _one("if later is not None:", "if False:"),
        1000,
        story="no bug yet: a batch is corrupt behind which a committed one stands, and everybody starts cold",
    ),
    Mutant(
        "a read that was given up goes on in the tailer that is used",
        "hanas_worker.log.follower:Follower._read_on",
        _one("state.followed_epoch = 0", "pass"),
        1000,
    ),
    # ------------------------------------------------------------------ compaction
    Mutant(
        "a segment is removed before the check that follows block 1",
        "hanas_core.upkeep.compaction:roll",
        _one(
            "    applied = await log.check()\n",
            "    for name in await removable(folder, manifest): await folder.remove(name)\n"
            "    applied = await log.check()\n",
        ),
        1000,
    ),
    Mutant(
        "segments are removed in the epoch in which they were merged",
        "hanas_worker.log.compactor:Compactor._compact",
        _one(
            "    if not await self._tenure.roll(",
            "    for cut in plan.cuts: await host.in_lane(Duty.COMPACT, "
            "host.folder.remove(names.segment(cut.epoch, cut.number)))\n"
            "    if not await self._tenure.roll(",
        ),
    ),
    Mutant(
        "segments are removed that the manifest names",
        "hanas_core.upkeep.compaction:removable",
        _one(" and segment not in named", ""),
    ),
    Mutant(
        "a manifest is removed whose claim is about to point to it",
        "hanas_core.upkeep.leftovers:Manifests.unnamed",
        _one("< epoch", "< epoch + 10"),
        story="no bug yet: a paused main tidies up while its successor is about to point to its manifest",
    ),
    Mutant(
        "an epoch rolls without a seal",
        "hanas_core.upkeep.compaction:roll",
        _one("    await seal_below(folder, claim)\n", ""),
    ),
    Mutant(
        "a compaction loses the idempotency keys",
        "hanas_core.upkeep.merging:Merger._decide",
        _one("if done is not None and done.version == (origin, sequence):", "if False:"),
        1000,
    ),
    Mutant(
        "a compaction drops deletes that older segments need",
        "hanas_core.upkeep.merging:Merger._decide",
        _one("if self._keeps_deletes and", "if False and"),
        1000,
        story="no bug yet: a delete is merged whose value lies in a segment that is left as it is",
    ),
    Mutant(
        "what a compaction itself leaves counts as garbage",
        "hanas_worker.log.compactor:Compactor._compact",
        _one(" + unused", ""),
        500,
    ),
    Mutant(
        "a compaction forgets how far it reached",
        "hanas_core.upkeep.merging:Merger.take",
        _one("self._held.append(self._end())", "pass"),
    ),
    Mutant(
        "a compaction keeps what is overwritten",
        "hanas_core.upkeep.merging:Merger._decide",
        _one("if self._index.keys.has(key, records.facts_of(record).revision):", "if True:"),
        1000,
    ),
    Mutant(
        "merged segments stand behind the rest of the log",
        "hanas_core.upkeep.compaction:Plan.replaced",
        _one(
            "return log[: self.first] + merged + log[self.first + len(self.cuts) :]",
            "return log[: self.first] + log[self.first + len(self.cuts) :] + merged",
        ),
        1000,
    ),
    Mutant(
        "a value that has moved is taken for what its key holds now",
        "hanas_worker.log.values:_of",
        _one("index.same(key, entry)", "index.get(key)"),
        1000,
        story="seed 1489: a value that has moved is taken for what its key holds now",
    ),
    Mutant(
        "a value is kept at hand although its key has another one by now",
        "hanas_core.state.index:Index.keep",
        _one("if packed is not None and version_of(packed) == entry.version:", "if packed is not None:"),
        story="no bug yet: a value is replaced while it is read from the volume",
    ),
    Mutant(
        "a list without a check",
        "hanas_worker.store:Store.list.__wrapped__",
        _one("await fence(server)", "self.epoch"),
        1000,
    ),
    Mutant(
        "an idempotency key gets the old answer for other content",
        "hanas_core.state.judge:_repeated",
        _one("if done.request != idempotency.request:", "if False:"),
    ),
    Mutant(
        "a call that may have been carried out is sent again",
        "hanas_worker.log.forwarder:Forwarder.closed",
        _one("call.sent and not call.repeatable", "False"),
        story="no bug yet: a transaction is being committed when its line is lost",
    ),
    Mutant(
        "a call that may have been carried out is given up as not done",
        "hanas_worker.log.forwarder:Forwarder.closed",
        _one("Result.UNKNOWN", "Result.NOT_MAIN"),
        story="no bug yet: a transaction is being committed when its line is lost",
    ),
    # ------------------------------------------------------------------ revisions, history, transactions
    Mutant(
        "a record that changes no key makes a revision",
        "hanas_core.log.records:revision_behind",
        _one("return max(revision, compacted)", "return revision + 1"),
    ),
    Mutant(
        "a revision is used again for what is re-logged",
        "hanas_core.state.index:Index.apply",
        _one("self.sequence, self.revision, self.form =", "self.sequence, _, self.form ="),
        also=(("hanas_core.state.index:Index._begin", _one("revision != self.revision", "False")),),
    ),
    Mutant(
        "answers tell the revision that comes next",
        "hanas_worker.faces.http.answers:revision_line",
        _one("% revision if", "% (revision + 1) if"),
    ),
    Mutant(
        "history is dropped one revision too early",
        "hanas_core.state.keyspace:KeySpace.compact",
        _one("self.history.drop(revision)", "self.history.drop(revision + 1)"),
    ),
    Mutant(
        "what is forgotten is told",
        "hanas_worker.store:check_revision",
        _one("if revision < index.compacted:", "if False:"),
    ),
    Mutant(
        "a delete leaves no trace in history",
        "hanas_core.state.keyspace:KeySpace.delete",
        _one("self._bury(key, revision)", "pass"),
    ),
    Mutant(
        "a key that comes back forgets its delete",
        "hanas_core.state.keyspace:KeySpace.put",
        _one("before = self._graves.pop(key, None)", "before = self._graves.pop(key, None) and None"),
        also=(
            (
                "hanas_core.state.history:History.check_invariants",
                _one("for revision, key, before in", "for revision, key, before in [] and"),
            ),
        ),
    ),
    Mutant(
        "a merge drops what history needs",
        "hanas_core.upkeep.merging:Merger._decide",
        _one(
            "if self._index.keys.has(key, records.facts_of(record).revision):",
            "if self._index.version(key) == (record.origin, record.sequence):",
        ),
    ),
    Mutant(
        "a merge drops the deletes that history needs",
        "hanas_core.upkeep.merging:Merger._decide",
        _one("if records.revision_of(record) > self._floor:", "if False:"),
    ),
    Mutant(
        "a merge forgets which history was compacted",
        "hanas_core.upkeep.merging:Merger._end",
        _one("compacted=self._index.compacted", "compacted=1"),
        also=(("hanas_core.upkeep.merging:Merger.__init__", _one("records.Floor(self._floor)", "records.Floor(1)")),),
    ),
    Mutant(
        "a merge gives all versions new facts",
        "hanas_core.log.records:kept",
        _one("if facts == plain(sequence):", "if True:"),
    ),
    Mutant(
        "a snapshot has no past",
        "hanas_core.state.snapshots:SnapshotFrames.__iter__",
        _one("if not changes:", "if True:"),
        1000,
    ),
    Mutant(
        "changes behind a snapshot are noted twice",
        "hanas_core.state.keyspace:KeySpace.loaded",
        _one("self.noted = noted", "self.noted = compacted"),
        1000,
    ),
    Mutant(
        "a put in the batch of its key's creation counts from one again",
        "hanas_core.state.judge:Judge.judge",
        _one("left[2], left[3] + 1", "left[2], 2"),
    ),
    Mutant(
        "a transaction is judged against the committed state only",
        "hanas_core.state.judge:Judge._judge_transaction",
        _one("Scene(self._state, self.revision,", "Scene(Overlay(self._index), self.revision,"),
    ),
    Mutant(
        "operations of a transaction do not see each other",
        "hanas_core.state.transacting:_Judged._change",
        _one("self._state.changed[key] = self.changed[key] = left", "self.changed[key] = left"),
    ),
    Mutant(
        "a transaction is done again when it is repeated",
        "hanas_core.state.judge:Judge._judge_transaction",
        _one("if done is not None:", "if False:"),
    ),
    Mutant(
        "a transaction's record tells of its first change only",
        "hanas_core.state.judge:Judge._judge_transaction",
        _one("records.Transacted(effect.changes,", "records.Transacted(effect.changes[:1],"),
    ),
    Mutant(
        "inner compares see what the operations before them did",
        "hanas_core.state.transacting:_Judged.carry_out",
        _one(
            "self.carry_out(operation, next(inside))",
            "self.carry_out(operation, _path(self._state, self.request, operation))",
        ),
        also=(
            (
                "hanas_core.state.transacting:transact",
                _one("    path = _path(", "    judged.request = request\n    path = _path("),
            ),
        ),
    ),
    Mutant(
        "a batch tells the revision behind it",
        "hanas_core.state.queue:GroupCommit.next_batch",
        _one("records.encode(changes, judge.cells, revision)", "records.encode(changes, judge.cells, judge.revision)"),
    ),
    Mutant(
        "a read of the past shows the present",
        "hanas_worker.store:past",
        _one("return index.at(key, revision)", "return index.get(key)"),
    ),
    Mutant(
        "a list of the past lacks what was deleted since",
        "hanas_core.state.keyspace:KeySpace._rows",
        _one("for order in (self._order, self._grave_order)", "for order in (self._order,)"),
    ),
    # ------------------------------------------------------------------ a folder that is changed under its members
    Mutant(
        "a main goes on in a folder that is gone",
        "hanas_worker.neighbours.custody:Custodian._displaced",
        _one('log.service.end(f"the folder was changed under it: {error}")', "pass"),
        story="found in use: the folder is moved away under a running cluster, and put back",
    ),
    Mutant(
        "nobody checks whether the folder is still the same",
        "hanas_core.upkeep.custody:Custody.check",
        _one("await self._identify()", "return False"),
        story="found in use: the folder is moved away under a running cluster, and put back",
    ),
    Mutant(
        "a main seals by name in the folder of another cluster",
        "hanas_worker.log.tenure:Tenure._seal",
        _one("if host.displaced:", "if False:"),
        story="found in use: another volume is mounted under a running main",
    ),
    Mutant(
        "nobody remembers how far the log was committed",
        "hanas_worker.log.tenure:Tenure._committed",
        _one("self._state.witness().committed", "None"),
        story="found in use: a file server forgets the end of the log, and all members start anew",
    ),
    Mutant(
        "nobody remembers which epochs were claimed",
        "hanas_core.epochs.arbitration:_highest_claim_of_all",
        _one("together(folder_id, shown).claim", "0"),
        story="found in use: a file server forgets every claim, and all members start anew",
    ),
    # ------------------------------------------------------------------ telling a dead main
    Mutant(
        "a keep-alive counts whoever made it",
        "hanas_worker.neighbours.keepalives:LinkEndpoint._answer",
        _one("if not verifier.proves(proof, _KEEPALIVE, body):", "if False:"),
        story="found in use: an invented commit position makes every takeover fail",
    ),
    Mutant(
        "a keep-alive counts however old it is",
        "hanas_worker.neighbours.authenticity:Verifier.is_fresh",
        _one("echo is not None and 0 <= self.time - echo <= self._fresh_seconds * 1000", "True"),
        story="found in use: repeated keep-alives of a dead main hide its death",
    ),
    Mutant(
        "a pause of one's own is a silence of others",
        "hanas_core.members.owntime:OwnTime.at",
        _one("min(now - self._turned_at, self._most)", "now - self._turned_at"),
        story="found in use: backups that are late in every turn replace a main that needs a while",
    ),
    Mutant(
        "a slow folder gives the main no more time",
        "hanas_core.members.detector:Detector._timeout",
        _one("min(_STEPS * (probe.canary_took or 0.0), timing.folder_grace)", "0.0"),
        story="found in use: on a slow volume nobody answers a probe in time",
    ),
    Mutant(
        "a folder that was away is back for all at once",
        "hanas_core.members.detector:Detector._timeout",
        _one("(timing.stall_limit if away else 0.0)", "0.0"),
        story="found in use: a file server comes back for the main last",
    ),
    Mutant(
        "what a main tells of its pauses is ignored",
        "hanas_core.members.detector:Detector._timeout",
        _one("min(self._main_paused, _PAUSE * timing.suspect_after)", "0.0"),
        story="found in use: a main that pauses now and then is replaced each time",
    ),
    Mutant(
        "a takeover on a dead folder",
        "hanas_core.members.detector:Detector._judge",
        _one("if probe.canary_ok and looked:", "if looked:"),
        500,
    ),
    Mutant(
        "an answer without a commit",
        "hanas_worker.neighbours.mail:Mail._answers",
        _one(" or not await self._commits(service)", ""),
        500,
    ),
    Mutant(
        "a probe is answered whatever epoch it asks about",
        "hanas_worker.neighbours.mail:Mail._answers",
        _one("and probe.epoch == epoch", ""),
        500,
    ),
    Mutant(
        "a main does not say that its folder hangs",
        "hanas_worker.log.hearing:Hearing._hear_the_main",
        _one("hung_for=news.hung_for", "hung_for=0.0"),
        story="found in use: the way from the main to the folder is cut, and for long nobody takes over",
    ),
    Mutant(
        "a main whose folder hangs does not believe that it was replaced",
        "hanas_worker.log.hearing:Hearing.answered",
        _one("self._superseded(epoch)", "pass"),
        story="found in use: a main whose folder hangs keeps its clients waiting after it was replaced",
    ),
    Mutant(
        "a main that gave up is replaced from a folder that does not work",
        "hanas_core.members.detector:Detector._judge",
        _one("if self._gave_up and probe.canary_ok and self._silent(now):", "if self._gave_up and self._silent(now):"),
        500,
    ),
    Mutant(
        "the seal of a main is no word about it",
        "hanas_core.members.detector:Detector.gave_up",
        _one("self._gave_up or epoch == self.epoch", "False"),
        story="found in use: a main that gave up is probed all the same",
    ),
    Mutant(
        "a probe that is renewed before its time",
        "hanas_core.members.detector:Detector.tick",
        _one("if self._probe is None:", "if True:"),
    ),
    Mutant(
        "patience without a limit",
        "hanas_core.members.detector:Detector.served",
        _one(
            "min(self._doubled(few) * 2.0**more, _LONGEST * self._most)",
            "60 * self._timing.suspect_after * 2.0 ** min(unserved, 64)",
        ),
        1000,
    ),
    Mutant(
        "one's own failures do not lengthen the wait",
        "hanas_core.members.member:Member.failed",
        _one("max(1, self.unserved)", "1"),
        story="found in use: no takeover can write its manifest, and each one costs an epoch",
    ),
    Mutant(
        "epochs that commit nothing do not lengthen the wait",
        "hanas_core.members.member:Member.withered",
        _one("self.barren + 1, why", "0, why"),
        story="found in use: every takeover succeeds, no commit does, and each one costs an epoch",
    ),
    Mutant(
        "an epoch is claimed that cannot serve, again and again",
        "hanas_worker.log.driver:LogDriver.challenge",
        _one("if state.member.unserved:", "if False:"),
        story="found in use: a changed byte makes every takeover fail, and each one costs an epoch",
    ),
    # ------------------------------------------------------------------ forwarding and the read index
    Mutant(
        "a read index without a check",
        "hanas_worker.log.desk:Visit.take",
        _one(
            "self._desk.service.after_check(partial(self._reached, content.number))",
            "self._reached(content.number, self._desk.service.epoch)",
        ),
        story="no bug yet: a backup asks a main on that was replaced while it slept",
    ),
    Mutant(
        "an answer from what is applied, without asking",
        "hanas_worker.log.forwarder:Forwarder.after_check",
        _one(
            "    self._readers.append(",
            "    if self.readable: return reader(self._state.member.epoch)\n    self._readers.append(",
        ),
    ),
    Mutant(
        "a copy that has not come far enough",
        "hanas_worker.log.forwarder:Forwarder._holds",
        _one("applied >= position", "applied >= position._replace(offset=position.offset // 2)"),
    ),
    Mutant(
        "reads that came later get an older question's answer",
        "hanas_worker.log.forwarder:Forwarder.take",
        _one(
            "asked, self._asked = self._asked, []",
            "asked, self._asked, self._readers = self._asked + self._readers, [], []",
        ),
        story="no bug yet: a read comes to a backup while the answer for an earlier one is late",
    ),
    Mutant(
        "a write that was sent is sent again as another one",
        "hanas_worker.log.forwarder:Forwarder.closed",
        _one(
            "        waiting.frame = None\n",
            "        waiting.frame = None\n        waiting.sent = False\n    self._session = None\n",
        ),
    ),
    Mutant(
        "the outcome of what was sent is given up as not done",
        "hanas_worker.log.forwarder:Forwarder._begin",
        _one("Outcome(Result.UNKNOWN)", "Outcome(Result.NOT_MAIN)"),
        story="no bug yet: a backup's session is ended while its writes wait for their outcomes",
    ),
    Mutant(
        "an impatient client is told that what was sent was not done",
        "hanas_worker.log.forwarder:Forwarder._give_up",
        _one("Result.UNKNOWN if waiting.sent else Result.NOT_MAIN", "Result.NOT_MAIN"),
    ),
    Mutant(
        "an older line of a session is heard beside the newer one",
        "hanas_worker.log.desk:Desk.settle",
        _one("    if older is not None:\n        older.leave()\n", ""),
        story="no bug yet: a copy of a refused write comes late, over a line that was given up",
    ),
    Mutant(
        "what waits in the queue is not here",
        "hanas_worker.log.desk:Visit._known",
        _one("number in pending", "False"),
        also=(("hanas_worker.log.desk:Visit._write", _one("forward.number in pending", "False")),),
        story="no bug yet: a refused write is being committed when its line is lost",
    ),
    Mutant(
        "a desk outlives its tenure",
        "hanas_worker.log.desk:Desk.written",
        _one(
            "outcome.result, outcome.version",
            "Result.REPLACED if outcome.result is Result.UNKNOWN else outcome.result, outcome.version or session",
        ),
    ),
    Mutant(
        "outcomes are told of other numbers",
        "hanas_worker.log.desk:Desk.written",
        _one("Told(number,", "Told(number ^ 1,"),
    ),
    Mutant(
        "a push tells more than is committed",
        "hanas_worker.log.desk:Visit._tell",
        _one(
            "service.applied, tuple(told)",
            "service.applied._replace(offset=service.applied.offset + 4096), tuple(told)",
        ),
    ),
    # ------------------------------------------------------------------ leases
    Mutant(
        "an expiry is no record, so that a fenced main expires leases, too",
        "hanas_worker.log.lessor:Lessor._expire",
        _one(
            "self._service.submit(Revoke(held.lease, held.granted), written)",
            "self._service.index.leases.revoke(held.lease); written(Outcome(Result.LEASE_REVOKED), 0)",
        ),
    ),
    Mutant(
        "a keep-alive is answered without a check",
        "hanas_worker.log.lessor:Lessor.keep_alive",
        _one("while await self._service.fence() is not None:", "while not self._service.ended:"),
        story="leases: a main that was replaced is asked to renew one",
    ),
    Mutant(
        "every takeover gives leases their whole time again",
        "hanas_worker.log.deadlines:Deadlines.__init__",
        _one("float(told.remaining)", "float(told.ttl)"),
        story="leases: a main dies after what remains of one was noted",
    ),
    Mutant(
        "a renewal is told that the log knows nothing of",
        "hanas_worker.log.lessor:Lessor.keep_alive",
        _one("stored.remaining == held.ttl", "True"),
        story="leases: a main dies after a late renewal",
    ),
    Mutant(
        "less is noted than what remains of a lease",
        "hanas_worker.log.lessor:Lessor.look",
        _one("ceil(held.deadline - now)", "max(1, ceil(held.deadline - now) // 10)"),
        story="leases: a main dies after what remains of one was noted",
    ),
    Mutant(
        "a deadline counts from the last check",
        "hanas_worker.log.deadlines:LeaseTime.now",
        _one("self._time + clock - self._checked_at", "self._time - 0.5"),
    ),
    Mutant(
        "an expiry leaves a key behind",
        "hanas_core.state.judge:Judge._judge_revoke",
        _one("records.Revoked(wish.lease, keys)", "records.Revoked(wish.lease, keys[1:])"),
    ),
    Mutant(
        "each key of a lease goes with a revision of its own",
        "hanas_core.log.records:revision_behind",
        _one(
            "        case Compacted(revision=compacted):",
            "        case Revoked(keys=keys):\n            return revision + len(keys)\n"
            "        case Compacted(revision=compacted):",
        ),
    ),
    Mutant(
        "a key is attached to a lease that is gone",
        "hanas_core.state.judge:Judge._attach",
        _one("self._leases.granted(lease) is None", "False"),
    ),
    Mutant(
        "a key stays with the lease that it was taken from",
        "hanas_core.state.index:Index._put",
        _one("if lease or self.leases.attached:", "if lease:"),
    ),
    Mutant(
        "a merge forgets leases",
        "hanas_core.upkeep.merging:Merger._needs_of_leases",
        _one("present.granted == (record.origin, record.sequence)", "False"),
    ),
    Mutant(
        "a merge forgets what remains of leases",
        "hanas_core.upkeep.merging:Merger._needs_of_leases",
        _one("present.noted == record.sequence", "False"),
    ),
    Mutant(
        "a snapshot holds no leases",
        "hanas_core.state.snapshots:SnapshotFrames.__init__",
        _one("index.leases.all()", "[]"),
    ),
    # ------------------------------------------------------------------ watches
    Mutant(
        "a watch that goes on leaves out a revision",
        "hanas_worker.faces.http.watches:_start_of",
        _one('"Last-Event-ID") + 1', '"Last-Event-ID") + 2'),
    ),
    Mutant(
        "a watch that goes on is told the last revision again",
        "hanas_worker.faces.http.watches:_start_of",
        _one('"Last-Event-ID") + 1', '"Last-Event-ID")'),
    ),
    Mutant(
        "a watch begins before it is known how far the store has come",
        "hanas_worker.store:Store.watch",
        _one("await self.confirmed()", "self.index.revision"),
    ),
    Mutant(
        "the head of a watch tells a later revision than the one that it begins behind",
        "hanas_worker.faces.http.watches:open_stream",
        _one("feed.position if start is None else store.revision", "store.revision + (start is None)"),
    ),
    Mutant(
        "progress without a check",
        "hanas_worker.store:Store.confirm",
        _one(
            "server.after_check(partial(self._confirmed, done, server))",
            "self._confirmed(done, server, self.epoch)",
        ),
        500,
    ),
    Mutant(
        "progress ahead of events",
        "hanas_worker.faces.http.watches:Stream._next",
        (
            (" and feed.position >= self._confirmed", ""),
            (
                "self._confirmed, self._asked = None, False",
                "revision, self._confirmed, self._asked = self._confirmed, None, False",
            ),
            (
                "self._form.progress(feed.position)",
                "self._form.progress(revision)",
            ),
        ),
    ),
    Mutant(
        "a stretch ends inside of a revision",
        "hanas_core.state.changes:Reading.read",
        _one(
            "        if self._size >= most and change.revision > self._events[-1].revision:\n"
            "            return self._stretch(change.revision - 1)",
            "        if self._size >= most:\n                return self._stretch(change.revision)",
        ),
    ),
    Mutant(
        "a watch whose next changes are forgotten goes on behind them",
        "hanas_core.state.changes:Reading.read",
        _one("if self._after < self.keys.compacted:", "if False:"),
    ),
    Mutant(
        "a watch from a forgotten revision begins behind what is forgotten",
        "hanas_worker.store:Store.watch",
        _one("raise Forgotten(epoch, index.compacted)", "after = index.compacted"),
    ),
    Mutant(
        "reading goes on one change too far after a pause",
        "hanas_core.state.changes:Reading.read",
        _one("self._number = history.dropped + at", "self._number = history.dropped + at + 1"),
    ),
    Mutant(
        "reading does not notice that history was compacted during a pause",
        "hanas_core.state.changes:Reading.read",
        (("self._number - history.dropped", "self._number"), ("history.dropped + at", "at")),
        also=(
            (
                "hanas_core.state.changes:Reading.__init__",
                _one("keys.history.dropped + keys.history.behind(after)", "keys.history.behind(after)"),
            ),
        ),
    ),
    Mutant(
        "who watches other keys is told the same",
        "hanas_worker.log.feeds:Feeds._at",
        _one("place = feed.span, feed.previous,", "place = Span.prefix(b''), feed.previous,"),
    ),
    Mutant(
        "who is behind another revision is told the same",
        "hanas_worker.log.feeds:Feeds._at",
        _one("feed.previous, feed.position, feed.most", "feed.previous, 0, feed.most"),
    ),
    Mutant(
        "a change is told with what its key holds now",
        "hanas_core.state.changes:Reading._take",
        _one("now = self.keys.at(key, revision)", "now = self.keys.packed(key)"),
    ),
    Mutant(
        "a change is told with the value that its key has now",
        "hanas_worker.log.feeds:Feeds._complete",
        _one("index.cached_of(event.key, entry)", "index.cached(event.key)"),
    ),
    Mutant(
        "a backup tells watchers what nobody has committed",
        "hanas_worker.log.feeds:Feeds._last",
        _one("min(index.revision, state.certain)", "index.revision"),
        story="watches: a backup follows an epoch that does not serve, after a takeover of its own has failed",
    ),
    Mutant(
        "a copy counts as certain although its epoch is not known to serve",
        "hanas_worker.log.follower:Follower._read_on",
        _one("if step.served:", "if True:"),
        story="watches: a backup follows an epoch that does not serve, after a takeover of its own has failed",
    ),
    Mutant(
        "a refusal tells a revision that a takeover has read",
        "hanas_worker.store:Store.reached",
        _one("revision if state.service is not None else min(revision, state.certain)", "revision"),
        story="seed 321: a worker that is taking over refuses a read",
    ),
)


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """Break the production code, mostly in one place, for the duration of the context."""
    wholes = []
    for place, change in ((mutant.place, mutant.change), *mutant.also):
        function = _function(place)
        wholes.append((function, function.__code__))
        function.__code__ = _broken(function, mutant.name, place, change)
    try:
        yield
    finally:
        for function, whole in wholes:
            function.__code__ = whole


def _function(place: str) -> FunctionType:
    module, _, path = place.partition(":")
    found: object = importlib.import_module(module)
    for part in path.split("."):
        found = inspect.getattr_static(found, part)
    found = getattr(found, "__func__", getattr(found, "fget", found))
    assert isinstance(found, FunctionType)
    return found


def _broken(function: FunctionType, name: str, place: str, change: tuple[tuple[str, str], ...]) -> CodeType:
    lines = textwrap.dedent(inspect.getsource(function)).splitlines(keepends=True)
    source = "".join(lines[next(at for at, line in enumerate(lines) if line.startswith(("def ", "async def "))) :])
    for old, new in change:
        assert source.count(old) == 1, f"{name}: {old!r} occurs {source.count(old)} times in {place}"
        source = source.replace(old, new)
    code = compile(f"from __future__ import annotations\n{source}", f"<{name}>", "exec")
    return next(const for const in code.co_consts if isinstance(const, CodeType))


class Caught(NamedTuple):
    """The first seed that reveals a mutant (0: its story does), and the violation."""

    seeds: int
    violation: str


def hunt(mutant: Mutant, most: int = 1 << 60) -> Caught | None:
    """Run up to ``most`` seeds until one reveals the mutant; None if it survives."""
    with applied(mutant):
        told = play(mutant.story) if mutant.story else None
        if told is not None:
            return Caught(0, told)
        for seed in range(min(mutant.seeds, most)):
            report = run(seed)
            if report.violation is not None:
                return Caught(seed + 1, report.violation)
    return None


def _told(mutant: Mutant, most: int) -> tuple[bool, str]:
    """Test a mutant; return whether it was caught, and a line about it."""
    started = time.monotonic()
    caught = hunt(mutant, most)
    seconds = time.monotonic() - started
    seen = "SURVIVES" if caught is None else f"{caught.seeds:5} {caught.violation.splitlines()[0][:110]}"
    return caught is not None, f"{mutant.name:<64}{mutant.seeds:>5} {seconds:6.1f} s {seen}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make sim-mutants", description=__doc__)
    parser.add_argument("--only", default="", help="those with this in their name")
    parser.add_argument("--most", type=int, default=1 << 60, help="no more seeds than this for each")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    wanted = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if wanted.only in mutant.name]
    survivors = 0
    with ProcessPoolExecutor(wanted.jobs) as pool:
        for hunted in as_completed([pool.submit(_told, mutant, wanted.most) for mutant in chosen]):
            caught, line = hunted.result()
            survivors += not caught
            print(line, flush=True)
    print(f"{survivors} of {len(chosen)} survive")
    return survivors > 0


if __name__ == "__main__":
    sys.exit(main())
