"""What members know for certain of a log, whatever has become of the folder (docs/protocol.md, section 1.6)."""

from collections.abc import Iterable

import msgspec

from hanas_core.log.positions import NOWHERE, Position


class Witness(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What one member knows, by itself or from another: a folder that loses nothing still holds it."""

    folder_id: str = ""
    """Of which folder this is known."""
    claim: int = 0
    """The highest epoch whose claim was found durable; 0: none."""
    committed: Position = NOWHERE
    """A position up to which the log was committed, in an epoch that passed its first check."""


def together(folder_id: str, witnesses: Iterable[Witness]) -> Witness:
    """Return what those of this folder know together."""
    whole = Witness(folder_id)
    for one in witnesses:
        if one.folder_id == folder_id:
            whole = Witness(folder_id, max(whole.claim, one.claim), max(whole.committed, one.committed))
    return whole
