"""Checks who is registered, and the mailboxes (hanas_core.upkeep.fsck)."""

import msgspec

from hanas_core.members.documents import Presence
from hanas_core.members.mailboxes import SLOTS, Answers, Box, Canary, Probe, Registration
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
    owners: dict[str, str] = {}
    count = 0
    for base in await report.listed(folder, names.MEMBERS):
        slot, name = names.slot_of_registration(base), f"{names.MEMBERS}/{base}"
        if slot is None or slot >= SLOTS:
            report.strange(name)
            continue
        if slot > count:
            gap = (
                f"missing: there is no registration of the slots {count} to {slot - 1}, so nobody sees those behind it"
            )
            report.error(names.member(count), None, gap)
        count = slot + 1
        block = await report.content(folder, name, BLOCK_BYTES)
        registration = None if block is None else report.struct(block, name, 0, Registration)
        if registration is None:
            if block is not None and not any(block):
                report.error(name, 0, "is zero, a registration was expected")
            continue
        if registration.slot != slot:
            report.error(name, 0, f"is the registration of slot {registration.slot}")
        if not names.is_member(registration.member):
            report.error(name, 0, f"registers {registration.member[:80]!r}, which is no member id")
        if (other := owners.setdefault(registration.member, name)) != name:
            report.error(name, 0, f"registers {registration.member}, as {other} does")
    return count


async def check_mailboxes(folder: Folder, slots: int, report: FolderReport) -> None:
    """Check the mailboxes, in which ``slots`` slots have an owner."""
    for box, kind in _CONTENTS.items():
        name = f"{names.MAILBOXES}/{box}"
        content = await report.content(folder, name, SLOTS * BLOCK_BYTES) or b""
        for at in range(0, len(content.rstrip(b"\0")), BLOCK_BYTES):
            block = content[at : at + BLOCK_BYTES]
            report.struct(block, name, at, kind, torn=_TORN)
            if at >= slots * BLOCK_BYTES and any(block):
                report.note(name, at, f"slot {at // BLOCK_BYTES} belongs to nobody")
    known = {str(box) for box in Box}
    for base in await report.listed(folder, names.MAILBOXES):
        if base not in known:
            report.strange(f"{names.MAILBOXES}/{base}")
