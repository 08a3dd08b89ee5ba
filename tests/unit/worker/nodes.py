"""Workers on a folder in memory."""

from collections.abc import Mapping

from msgspec.structs import replace

from hanas_core.epochs.arbitration import Challenge
from hanas_core.members.documents import LOG
from hanas_core.members.timing import LAN
from hanas_core.volume.folder import Folder
from hanas_serving.runtime import Agree, Runtime
from hanas_worker.host import settings
from hanas_worker.neighbours.overseers import Overseers
from hanas_worker.node import Node
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import FOLDER_ID, Main
from tests.unit.waiting import AMPLE_SECONDS


class Nobody:
    """Outbound HTTP where no other process can be reached."""

    async def post(
        self, url: str, body: bytes, timeout: float, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        raise ConnectionRefusedError(url)

    async def until_closed(self, url: str, timeout: float, headers: Mapping[str, str]) -> None:
        raise ConnectionRefusedError(url)

    async def line(self, url: str, timeout: float, headers: Mapping[str, str], agree: Agree, *, connect: float) -> None:
        raise ConnectionRefusedError(url)


class FolderDecides(Overseers):
    """No overseer can be reached."""

    def __init__(self) -> None:
        timing = replace(LAN, overseer_timeout=AMPLE_SECONDS, folder_timeout=AMPLE_SECONDS)
        super().__init__((), timing, Nobody(), Runtime())

    async def challenge(self, folder: Folder, challenge: Challenge, addresses: tuple[str, str]) -> None:
        self.challenges = [*getattr(self, "challenges", []), challenge]
        await super().challenge(folder, challenge, addresses)


def backup_of(main: Main, folder: MemoryFolder) -> Node:
    read = settings.read({"WORKER_ID": "b", "HANAS_SEGMENT_BYTES": str(2 << 20), "HANAS_VALUE_BYTES": str(1 << 20)})
    node = Node(read, folder, FOLDER_ID, FolderDecides(), Nobody(), Runtime())
    node.logs[LOG].state.member.see(node.host.now, main.claim, 0)
    return node
