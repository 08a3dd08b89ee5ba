"""What this worker shows of itself: its block in the mailbox `presence`, and the report to the overseers."""

from collections.abc import Sequence

from hanas_core.members import cluster
from hanas_core.members.alerts import AlertBook
from hanas_core.members.documents import LOG, Alert, Presence, Report, fitting
from hanas_core.members.mailboxes import Box, Mailboxes
from hanas_core.members.verdicts import Verdict
from hanas_core.volume.blocks import PAYLOAD_BYTES
from hanas_worker.host import credentials, crowds
from hanas_worker.host.duties import Duty
from hanas_worker.host.host import Host
from hanas_worker.log.driver import LogDriver
from hanas_worker.neighbours.fitness import Fitness
from hanas_worker.neighbours.overseers import Overseers


class OwnPresence:
    """Shows the process and its logs."""

    def __init__(self, host: Host, logs: Sequence[LogDriver], fitness: Fitness, overseers: Overseers) -> None:
        """Begin without a block in the mailbox."""
        self._host = host
        self._logs = logs
        self._fitness = fitness
        self._overseers = overseers
        self._boxes = host.new_lane(Duty.PRESENCE).owning(lambda: Mailboxes(host.folder))
        self._book = AlertBook(host.settings.member)
        self._counter = 0
        self._shown_at = host.awake
        self.left = False
        """The last block says that this worker was stopped in order."""

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """The open alerts of this worker."""
        books = [*(log.book for log in self._logs), self._book]
        return tuple(alert for book in books for alert in book.open)

    @property
    def unshown_for(self) -> float:
        """Seconds since the block could last be written, not counting pauses of this process."""
        return self._host.awake - self._shown_at

    def reopen(self) -> None:
        """Open the mailbox anew: it is another file now."""
        self._boxes.forget()

    def content(self) -> Presence:
        """Return what this worker shows of itself."""
        host, logs = self._host, tuple(log.shown() for log in self._logs)
        return Presence(
            member=host.settings.member,
            incarnation=host.incarnation,
            counter=self._counter,
            advertise_url=host.settings.advertise_url,
            link_url=host.settings.link_url,
            logs=logs,
            left=self.left,
            isolated=not self._overseers.reachable and all(log.verdict is not Verdict.HEALTHY for log in logs),
            alerts=self.alerts,
            inquiry=self._fitness.inquiry,
            echoes=self._fitness.echoes,
            run=host.run,
            link_key=host.link_key,
            sessions=True,
            formats=cluster.FORMATS,
            etcd_url=host.settings.etcd_url,
        )

    async def show(self) -> None:
        """Write the block. Raises FolderError."""
        host = self._host
        conditions = [*crowds.conditions(host), *credentials.conditions(host)]
        self._book.update(host.now, host.runtime.wall_clock(), conditions)
        self._counter += 1
        block = fitting(self.content(), PAYLOAD_BYTES)
        began, slot = host.now, host.slot
        await self._boxes.run(lambda boxes: boxes.write(Box.PRESENCE, slot, block), host.timing.folder_timeout)
        host.shown_at = began
        self._shown_at = host.awake
        host.recovered(Duty.PROBE)  # that is only tried when the main is silent; this was a write of the same kind

    async def report(self) -> None:
        """Send a report to the overseers: over the network, since the folder may be what does not work here."""
        host, own = self._host, self.content()
        report = Report(
            member=own.member,
            incarnation=own.incarnation,
            folder_id=host.folder_id,
            verdict=own.of(LOG).verdict,
            alerts=own.alerts,
        )
        if await self._overseers.report(report):
            for log in self._logs:
                log.state.member.reached(host.awake)
