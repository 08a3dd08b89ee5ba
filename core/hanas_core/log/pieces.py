"""Reading sealed segments in small pieces, so that commits on the same disk hardly wait."""

from hanas_core.log.batches import Batch
from hanas_core.log.manifests import Cut
from hanas_core.log.segments import SegmentReader
from hanas_core.volume import names
from hanas_core.volume.errors import Corruption
from hanas_core.volume.folder import Folder

PIECE_BYTES = 256 << 10
"""Size of a piece, about."""


class PieceReader:
    """Keeps the segment open that it reads. Belongs to the thread that reads."""

    def __init__(self, folder: Folder) -> None:
        """Read segments of ``folder``."""
        self._folder = folder
        self._segment: tuple[Cut, SegmentReader] | None = None

    async def read(self, cut: Cut, offset: int) -> list[Batch]:
        """Return batches of a segment from ``offset`` on; none at its end only. Raises Corruption, FolderError."""
        segment, self._segment = self._segment, None
        if segment is None or segment[0] != cut:
            segment = cut, await SegmentReader.open(self._folder, cut.epoch, cut.number, most_bytes=PIECE_BYTES)
        batches, _ = await segment[1].take(offset, cut.end)
        if not batches and offset < cut.end:
            raise Corruption(
                f"{names.segment(cut.epoch, cut.number)}: at offset {offset} there is no valid batch, "
                f"but valid ones up to {cut.end}; run 'hanas fsck' on the folder"
            )
        if batches and batches[-1].end < cut.end:
            self._segment = segment
        return batches
