"""What processes that died left in the folder, and may be removed by the main (docs/protocol.md, section 3.6)."""

from collections.abc import Iterable, Set

from hanas_core.log.claims import read_pointer
from hanas_core.volume import names
from hanas_core.volume.blocks import Blank
from hanas_core.volume.folder import Folder

_AT_ONCE = 100
"""Manifests that one look compares with their claims: a long history must not delay other removals."""


async def temporary_names(folder: Folder) -> list[str]:
    """Return the temporary files of all incarnations."""
    present = [f"{names.TEMPORARY}/{base}" for base in await folder.names(names.TEMPORARY)]
    return [name for name in present if _incarnation(name)]


async def momentary_names(folder: Folder) -> list[str]:
    """Return the names that exist for a moment only, in all directories: a long history makes this a long list."""
    found = []
    for directory in ("", *names.DIRECTORIES):
        momentary = filter(names.is_momentary, await folder.names(directory))
        found += [f"{directory}/{base}" if directory else base for base in momentary]
    return found


def _incarnation(name: str) -> str | None:
    owner = names.owner_of_temporary(name.rpartition("/")[2])
    return None if owner is None else owner[1]


class Patience:
    """Tells which of these names have been nobody's for long, as one main sees it without a break."""

    def __init__(self, seconds: float) -> None:
        """``seconds``: how long is long."""
        self._seconds = seconds
        self._since: dict[str, float] = {}

    def due(self, now: float, present: Iterable[str], living: Set[str]) -> list[str]:
        """Return what may be removed of the names that are ``present``. ``living``: incarnations that show themselves.

        ``now``: monotonic seconds. A name that was not there before, or whose incarnation lives, begins to wait anew.
        """
        nobodys = [name for name in present if _incarnation(name) not in living]
        self._since = {name: self._since.get(name, now) for name in nobodys}
        return [name for name, since in self._since.items() if now - since >= self._seconds]


class Manifests:
    """Finds the manifests of takeovers that were not finished before an epoch began."""

    def __init__(self) -> None:
        """Have looked at none yet."""
        self.all_named = False
        """Every manifest was looked at, and the others are gone: later ones are those of epochs that served."""
        self._named: set[str] = set()
        """Those whose claims point to them, for ever."""

    async def unnamed(self, folder: Folder, epoch: int) -> list[str]:
        """Return manifests of epochs before ``epoch`` that no claim points to, the newest first, a hundred at most.

        To be asked only after the first check of ``epoch`` since its block 1 said "unsealed". A main-elect that sleeps
        may still point to one of them, and nobody will read that: whoever looks for a predecessor finds ``epoch``, or a
        later one, first.
        """
        earlier = [
            (of, base)
            for base in await folder.names(names.MANIFESTS)
            if base not in self._named and 0 < (of := names.epoch_of_manifest(base) or 0) < epoch
        ]
        unnamed = []
        for of, base in sorted(earlier, reverse=True)[:_AT_ONCE]:
            pointer, name = await read_pointer(folder, of), f"{names.MANIFESTS}/{base}"
            if pointer is Blank.ZERO or (not isinstance(pointer, Blank) and pointer.manifest != name):
                unnamed.append(name)
            else:  # also where the pointer is damaged: a person may restore it
                self._named.add(base)
        self.all_named = not unnamed and len(earlier) <= _AT_ONCE
        return unnamed
