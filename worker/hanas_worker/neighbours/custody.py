"""Whether the files that this worker relies on are still where they were (docs/protocol.md, section 1.5)."""

import logging
from collections.abc import Callable, Sequence

from hanas_core.log.positions import Position
from hanas_core.upkeep.custody import Custody, Reliance
from hanas_core.volume.errors import Displaced, FolderError
from hanas_serving.lanes import Hung
from hanas_worker.host.duties import Duty
from hanas_worker.host.host import Host
from hanas_worker.log.state import LogState

_log = logging.getLogger("hanas.worker")

_FAILURES = 3
"""An error that comes this often in a row is no passing one."""


class Custodian:
    """Checks the folder's identity and the files of each log; ends the epoch of a main whose files are gone."""

    def __init__(self, host: Host, logs: Sequence[LogState], reopen: Callable[[], None]) -> None:
        """Have checked nothing yet. ``reopen`` is called when mailboxes are other files than before."""
        self._host = host
        self._logs = logs
        self._reopen = reopen
        self._custody = host.new_lane(Duty.CUSTODY).owning(lambda: Custody(host.folder, host.folder_id))
        self._tails: dict[int, Position] = {}
        """The newest segment of each log that was followed or written here."""
        self._failures = 0
        self.damage = ""
        """What is wrong with the folder; empty while nothing is known to be."""

    async def check(self) -> None:
        """Check each log. Raises FolderError."""
        try:
            for log in self._logs:
                await self._check(log)
        except Displaced as error:
            self._displaced(error)
            raise
        except FolderError as error:
            self._failures += 1
            if self._failures >= _FAILURES and not isinstance(error, Hung):
                self.damage = str(error)
            raise
        if self._host.displaced:
            _log.warning("the folder is the one again in which this worker works")
        self._failures, self._host.displaced, self.damage = 0, "", ""

    async def _check(self, log: LogState) -> None:
        host, service = self._host, log.service
        epoch, reliance = log.member.epoch, self._reliance(log)
        try:
            replaced = await self._custody.run(lambda custody: custody.check(reliance), host.timing.folder_timeout)
        except FolderError:
            if log.service is service and log.member.epoch == epoch:
                raise
            return  # what was relied on then may be gone by right: a new epoch has begun
        if replaced:
            _log.warning("a mailbox was replaced by another file; all are opened anew")
            self._reopen()

    def _reliance(self, log: LogState) -> Reliance:
        host, service = self._host, log.service
        self._note_tail(log)
        reliance = Reliance(host.settings.member, host.slot, log.member.claim)
        if service is None:
            return reliance._replace(tail=self._tails.get(log.id))
        older = service.manifest.cuts + service.log.sealed
        return reliance._replace(held=service.held, proof=service.log.proof, older=older)

    def _note_tail(self, log: LogState) -> None:
        epoch, (applied, number, _) = log.followed_epoch, log.standing.applied
        if log.service is not None:
            epoch, applied, number = log.service.epoch, *log.service.applied[:2]
        if epoch:
            number, last = number if applied == epoch else 1, log.standing.last
            tail = Position(epoch, number, last.offset if last[:2] == (epoch, number) else 0)
            self._tails[log.id] = max(tail, self._tails.get(log.id, tail))

    def _displaced(self, error: Displaced) -> None:
        host = self._host
        if not host.displaced:
            _log.error("the folder was changed under this worker: %s", error)
        host.displaced = self.damage = str(error)
        for log in self._logs:
            if log.service is not None:
                log.service.end(f"the folder was changed under it: {error}")
