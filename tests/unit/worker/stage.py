"""A main's service on a folder in memory, and what holds up its folder."""

import threading
from dataclasses import dataclass, field

from hanas_core.log import records
from hanas_core.log.claimfile import Claim, Seal
from hanas_core.log.seals import write_seal
from hanas_core.log.segments import prepare
from hanas_core.state.queue import MOST_QUEUED_BYTES
from hanas_core.state.replica import Replica
from hanas_core.volume.blocking import run
from hanas_serving.lanes import Lane, SystemThread
from hanas_worker.host.duties import Duty
from hanas_worker.log.service import RESERVE_BYTES, Service
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import bare_folder, take_over, win
from tests.unit.waiting import AMPLE_SECONDS

SEGMENT_BYTES = 2 * RESERVE_BYTES


@dataclass
class Stage:
    """A service and what it told those around it."""

    folder: MemoryFolder
    claim: Claim
    service: Service
    segment_bytes: int = SEGMENT_BYTES
    ends: list[str] = field(default_factory=list)
    asked_for_room: int = 0

    def spare(self) -> str:
        return run(prepare(self.folder, self.claim.member, self.claim.incarnation, self.segment_bytes))

    def space_comes(self) -> None:
        spare = self.spare()
        run(self.service.log.name_ahead(spare))
        self.service.space_came(spare)

    def seal(self) -> None:
        run(write_seal(self.folder.other(), self.claim.epoch, Seal(self.claim.epoch + 1, "b", "b" * 32)))


async def started(timeout: float = AMPLE_SECONDS, segment_bytes: int = SEGMENT_BYTES) -> Stage:
    folder = bare_folder()
    claim = win(folder, 1)
    replica = Replica()
    promotion = run(take_over(folder, claim, replica, segment_bytes=segment_bytes))

    def ended(service: Service, why: str) -> None:
        assert service is made.service
        made.ends.append(why)

    def room_needed() -> None:
        made.asked_for_room += 1

    lanes = Lane(Duty.COMMIT, SystemThread), Lane(Duty.READ_CHECK, SystemThread)
    service = Service(
        promotion,
        replica,
        lanes=lanes,
        timeout=timeout,
        queue_bytes=MOST_QUEUED_BYTES,
        form=records.PLAIN,
        on_end=ended,
        on_room_needed=room_needed,
    )
    made = Stage(folder, claim, service, segment_bytes)
    return made


class Gate:
    """Holds up the operation that it is planned for, on the lane's thread."""

    def __init__(self) -> None:
        self.reached, self._open = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self._open.wait(AMPLE_SECONDS)

    def open(self) -> None:
        self._open.set()
