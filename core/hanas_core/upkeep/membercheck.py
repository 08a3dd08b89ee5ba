"""Checks who is registered, and the mailboxes (hanas_core.upkeep.fsck)."""

import msgspec

from hanas_core.members import witness
from hanas_core.members.documents import LOG, Presence
from hanas_core.members.mailboxes import SLOTS, Answers, Box, Canary, Probe
from hanas_core.members.registry import Registration, flaw_of
from hanas_core.members.witness import Witness
from hanas_core.upkeep.findings import FolderReport
from hanas_core.volume import names
from hanas_core.volume.folder import BLOCK_BYTES, Folder

_CONTENTS: dict[Box, type[msgspec.Struct]] = {
    Box.PROBES: Probe,
    Box.ANSWERS: Answers,
    Box.CANARIES: Canary,
    Box.PRESENCE: Presence,
}
_TORN = "is damaged: it says nothing to anyone, and its member writes it anew"


async def check_registrations(folder: Folder, report: FolderReport) -> int:
    """Check who owns which slot; return how many slots were given."""
    owners: dict[int, tuple[str, str]] = {}
    count = 0
    for base in sorted(
        await report.listed(folder, names.MEMBERS), key=lambda base: names.number_of_registration(base) or 0
    ):
        number, name = names.number_of_registration(base), f"{names.MEMBERS}/{base}"
        if number is None:
            report.strange(name)
            continue
        if number > count:
            gap = f"missing: there are no registrations {count} to {number - 1}, so nobody sees those behind them"
            report.error(names.member(count), None, gap)
        count = number + 1
        block = await report.content(folder, name, BLOCK_BYTES)
        registration = None if block is None else report.struct(block, name, 0, Registration)
        if registration is None:
            if block is not None and not any(block):
                report.error(name, 0, "is zero, a registration was expected")
            continue
        if flaw := flaw_of(registration, number):
            report.error(name, 0, flaw)
        present = {member: other for other, member in owners.values()}
        owners[registration.slot] = name, registration.member
        if (twin := present.get(registration.member)) is not None:
            report.error(name, 0, f"registers {registration.member}, as {twin} does")
    return min(count, SLOTS)


async def check_mailboxes(folder: Folder, slots: int, report: FolderReport, folder_id: str) -> Witness:
    """Check the mailboxes, in which ``slots`` slots have an owner; return what the members know of the log."""
    witnesses = []
    for box, kind in _CONTENTS.items():
        name = f"{names.MAILBOXES}/{box}"
        content = await report.content(folder, name, SLOTS * BLOCK_BYTES) or b""
        for at in range(0, len(content.rstrip(b"\0")), BLOCK_BYTES):
            block = content[at : at + BLOCK_BYTES]
            shown = report.struct(block, name, at, kind, torn=_TORN)
            if isinstance(shown, Presence):
                witnesses.append(shown.of(LOG).witness)
            if at >= slots * BLOCK_BYTES and any(block):
                report.note(name, at, f"slot {at // BLOCK_BYTES} belongs to nobody")
    known = {str(box) for box in Box}
    for base in await report.listed(folder, names.MAILBOXES):
        if base not in known:
            report.strange(f"{names.MAILBOXES}/{base}")
    return witness.together(folder_id, witnesses)
