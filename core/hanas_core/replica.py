"""A member's own copy of the state, and how far along the log it is."""

from hanas_core.folder import Folder
from hanas_core.index import Index
from hanas_core.positions import Position
from hanas_core.tailer import Tailer


class Replica:
    """The index together with the tailer that feeds it."""

    def __init__(self, folder: Folder) -> None:
        """Begin with nothing applied."""
        self._folder = folder
        self.index = Index()
        self.tailer = Tailer(folder)

    def forget(self) -> None:
        """Drop everything: the state is no prefix of what is followed now."""
        self.index = Index()

    def continue_from(self, applied: Position) -> None:
        """The state now holds everything before ``applied``, by other means than tailing: as a main."""
        self.tailer = Tailer(self._folder, applied)

    async def follow(self, epoch: int) -> bool:
        """Continue along the manifest of ``epoch``; forget a state that is no prefix. False: there is none yet."""
        goes_on = await self.tailer.follow(epoch)
        if goes_on is False:
            self.forget()
        return goes_on is not None

    async def catch_up(self) -> None:
        """Apply everything that is known to be committed, up to the end of what can be read now."""
        while True:
            for batch in await self.tailer.step():
                self.index.apply(batch)
            if self.tailer.at_end:
                return
