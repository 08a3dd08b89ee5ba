"""An empty folder gets the keys of an archive: one epoch of a member that never ran, sealed as a hand-over.

The same steps as those of any main make it, so any worker goes on from there. Until `Restoration.finish` has returned,
the folder must be nobody else's.
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
from hanas_core.state.judge import Compaction, Request, Write
from hanas_core.state.leases import Grant
from hanas_core.state.queue import GroupCommit
from hanas_core.state.replica import Replica
from hanas_core.upkeep.archive import Item
from hanas_core.volume.errors import NoSpace
from hanas_core.volume.folder import Folder

MEMBER = "restore"
"""Who holds the first epoch of a restored folder. It is in no slot, so nobody misses it."""
_ADDRESS = "http://restore.invalid"


class Restoration:
    """The folder while it is being filled. Each call raises FolderError, Sealed."""

    def __init__(self, folder: Folder, claim: Claim, promotion: Promotion, replica: Replica, size: int) -> None:
        """Use `begin`."""
        self._folder = folder
        self._claim = claim
        self._log = promotion.log
        self._size = size
        self._commits = GroupCommit[None](replica, claim.epoch, promotion.next_sequence, form=records.REVISED)

    @classmethod
    async def begin(  # each is a fact of its own
        cls,
        folder: Folder,
        folder_id: str | None,
        segment_bytes: int,
        now: str,
        clock: Callable[[], float],
        revision: int = 1,
        leases: Sequence[tuple[int, int]] = (),
    ) -> "Restoration":
        """Initialise an empty folder, and become its first main. ``now``: wall clock, for people.

        ``segment_bytes``: more than twice as much as the largest value. ``clock``: monotonic seconds. ``revision``:
        behind which the store goes on. ``leases``: ids and seconds to live of those that it begins with.
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
        if revision > 1:
            await restoration._write(Compaction(revision, goes_on=True))
        for lease, ttl in leases:
            await restoration._write(Grant(lease, ttl))
        await restoration._commit()
        return restoration

    async def add(self, items: Sequence[Item]) -> None:
        """Write keys, durably when this returns."""
        for item in items:
            lease = 0 if isinstance(item.lease, UnsetType) else item.lease
            await self._write(Write(item.name, item.value, item.content_type, lease=lease))
        await self._commit()

    async def _write(self, request: Request) -> None:
        """Have a request wait for the next commit."""
        if not self._commits.submit(request, None):
            await self._commit()
            self._commits.submit(request, None)

    async def _commit(self) -> None:
        """Commit what waits."""
        while self._commits.waiting:
            batch = self._commits.next_batch(self._log.room)
            if batch is not None:
                position = await self._log.commit(batch)
                self._commits.committed(position, encrypted=self._log.encrypted)
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
        self._commits.submit(None, None)
        await self._commit()
        planned = Seal(self._claim.epoch, MEMBER, self._claim.incarnation, planned=True)
        await write_seal(self._folder, self._claim.epoch, planned)
        return self._commits.next_sequence - 1
