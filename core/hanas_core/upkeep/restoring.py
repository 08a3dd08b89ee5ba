"""An empty folder gets the keys of an archive: one epoch of a member that never ran, sealed as a hand-over.

The same steps as those of any main make it, so any worker goes on from there. Until `Restoration.finish` has returned,
the folder must be nobody else's. It has no history, and its revisions begin far behind those of the store that was
copied (docs/protocol.md, section 3.8).
"""

from collections.abc import Callable, Sequence

from msgspec import UnsetType

from hanas_core.epochs.takeover import Promotion, promote
from hanas_core.log import records
from hanas_core.log.claimfile import Claim, Seal
from hanas_core.log.claims import claim_epoch
from hanas_core.log.seals import write_seal
from hanas_core.log.segments import prepare
from hanas_core.members import cluster
from hanas_core.state.judge import Compaction, Outcome, Request, Restored, Result, Write
from hanas_core.state.keytexts import shown
from hanas_core.state.leases import Grant
from hanas_core.state.queue import GroupCommit
from hanas_core.state.replica import Replica
from hanas_core.upkeep.archive import BadArchive, Item
from hanas_core.volume.errors import NoSpace
from hanas_core.volume.folder import Folder

MEMBER = "restore"
"""Who holds the first epoch of a restored folder. It is in no slot, so nobody misses it."""
_ADDRESS = "http://restore.invalid"
LEFT_OUT = 1_000_000_000
"""Revisions that a restored store leaves out: so many the former one may have told since it was copied."""


class Restoration:
    """The folder while it is being filled. Each call raises FolderError, Sealed, BadArchive."""

    def __init__(self, folder: Folder, claim: Claim, promotion: Promotion, replica: Replica, size: int) -> None:
        """Use `begin`."""
        self._folder = folder
        self._claim = claim
        self._log = promotion.log
        self._size = size
        self._replica = replica
        self._before = 0
        """The revision of the store that was copied; 0: it told none."""
        self._commits = GroupCommit[str](replica, claim.epoch, promotion.next_sequence, form=records.REVISED)

    @classmethod
    async def begin(  # each is a fact of its own
        cls,
        folder: Folder,
        folder_id: str | None,
        segment_bytes: int,
        now: str,
        clock: Callable[[], float],
        revision: int = 0,
        leases: Sequence[tuple[int, int]] = (),
    ) -> "Restoration":
        """Initialise an empty folder, and become its first main. ``now``: wall clock, for people.

        ``segment_bytes``: more than twice as much as the largest value. ``clock``: monotonic seconds. ``revision``:
        that of the store that was copied, 0 if it told none. ``leases``: ids and seconds to live of those to begin.
        """
        identity = await cluster.initialise(folder, folder_id)
        incarnation, replica = folder.nonce(), Replica(0)
        claim = Claim(
            epoch=1,
            member=MEMBER,
            incarnation=incarnation,
            nonce=folder.nonce(),
            advertise_url=_ADDRESS,
            link_url=_ADDRESS,
            folder_id=identity.folder_id,
            follows=0,
            claimed_at=now,
        )
        await claim_epoch(folder, claim)
        promotion = await promote(
            folder,
            claim,
            replica,
            spare=await prepare(folder, MEMBER, incarnation, segment_bytes),
            segment_bytes=segment_bytes,
            commit_position=None,
            clock=clock,
            progress=lambda _: None,
        )
        restoration = cls(folder, claim, promotion, replica, segment_bytes)
        restoration._before = revision
        if revision:
            await restoration._write(Compaction(revision + LEFT_OUT, goes_on=True))
        for lease, ttl in leases:
            await restoration._write(Grant(lease, ttl), f"the lease {lease}")
        await restoration._commit()
        return restoration

    async def add(self, items: Sequence[Item]) -> None:
        """Write keys, durably when this returns."""
        await self._forget()
        for item in items:
            await self._write(self._request(item), f"the key {shown(item.name)!r}")
        await self._commit()

    def _request(self, item: Item) -> Write | Restored:
        lease = 0 if isinstance(item.lease, UnsetType) else item.lease
        write = Write(item.name, item.value, item.content_type, lease=lease)
        if isinstance(item.create, UnsetType) or isinstance(item.generation, UnsetType):
            return write
        if item.create > self._before:
            raise BadArchive(
                f"the key {shown(item.name)!r} was created behind revision {self._before}: use another archive"
            )
        return Restored(write, item.create, item.generation)

    async def _forget(self) -> None:
        """Have no history: whoever knows a revision of the former store is told that it is forgotten."""
        await self._write(Compaction(self._replica.index.revision))

    async def _write(self, request: Request, about: str = "") -> None:
        """Have a request wait for the next commit. ``about``: what it is of the archive."""
        if not self._commits.submit(request, about):
            await self._commit()
            self._commits.submit(request, about)

    async def _commit(self) -> None:
        """Commit what waits."""
        while self._commits.waiting:
            batch = self._commits.next_batch(self._log.room)
            if batch is not None:
                position = await self._log.commit(batch)
                for about, outcome in self._commits.committed(position, encrypted=self._log.encrypted):
                    _require(about, outcome)
                continue
            if self._log.spare is not None:
                raise NoSpace(f"a value finds no room in a segment of {self._size} bytes: set HANAS_SEGMENT_BYTES")
            spare = await prepare(self._folder, MEMBER, self._claim.incarnation, self._size)
            await self._log.name_ahead(spare)
            self._log.spare = spare

    async def finish(self) -> int:
        """Hand over to whoever comes; return the revision.

        A batch without records comes last: it tells that all before it is committed, so the next main re-logs nothing.
        """
        await self._forget()
        await self._commit()
        self._commits.submit(None, "")
        await self._commit()
        planned = Seal(self._claim.epoch, MEMBER, self._claim.incarnation, planned=True)
        await write_seal(self._folder, self._claim.epoch, planned)
        return self._commits.next_sequence - 1


def _require(about: str, outcome: Outcome) -> None:
    """Raise BadArchive if a part of the archive was refused."""
    if outcome.result in {Result.CREATED, Result.LEASE_GRANTED, Result.COMPACTED, Result.COMMITTED}:
        return
    why = {Result.REPLACED: "is there twice", Result.LEASE_EXISTS: "is there twice"}.get(
        outcome.result, f"was refused ({outcome.result.value})"
    )
    raise BadArchive(f"{about} {why}: use another archive")
