"""Checks a folder that nobody uses, without changing it: flipped bits, torn tails, missing segments, orphans."""

from hanas_core.log import claimfile
from hanas_core.log.claimfile import POINTER_OFFSET, SEAL_OFFSET, Claim, Pointer, Seal
from hanas_core.log.manifests import Manifest, read_manifest
from hanas_core.members import cluster
from hanas_core.members.mailboxes import SLOTS, Box
from hanas_core.state import snapshots
from hanas_core.state.index import Index
from hanas_core.upkeep.findings import FolderReport
from hanas_core.upkeep.logcheck import LogCheck
from hanas_core.volume import names
from hanas_core.volume.errors import FolderError
from hanas_core.volume.folder import BLOCK_BYTES, Folder


async def check(folder: Folder) -> FolderReport:
    """Read everything in ``folder`` and return what was found. Raises WrongFolder if it is none of ours."""
    await cluster.identify(folder)
    report = FolderReport()
    manifests = await _manifests(folder, await _claims(folder, report), report)
    snapshot = await _snapshots(folder, report)
    log = LogCheck(folder, report, snapshot)
    report.epoch = max(manifests, default=0)
    if report.epoch:
        await log.read(manifests[report.epoch])
    for base in await folder.names(names.SEGMENTS):
        if f"{names.SEGMENTS}/{base}" not in log.named:
            report.note(f"{names.SEGMENTS}/{base}", None, "orphan: no part of the log; the next main removes it")
    for base in await folder.names(names.TEMPORARY):
        report.note(f"{names.TEMPORARY}/{base}", None, "temporary: its worker removes it at its next start")
    await _mailboxes(folder, report)
    return report


async def _claims(folder: Folder, report: FolderReport) -> dict[int, Pointer]:
    """Check all claims; return the pointers by epoch."""
    pointers: dict[int, Pointer] = {}
    highest = max((int(base) for base in await folder.names(names.CLAIMS) if base.isdigit()), default=0)
    for epoch in range(1, highest + 1):
        name = names.claim(epoch)
        try:
            content = await (await folder.open(name, "read")).read(0, claimfile.FILE_BYTES)
        except FolderError as error:
            report.error(name, None, f"missing, or cannot be read: {error}")
            continue
        claim = report.struct(content[:BLOCK_BYTES], name, 0, Claim)
        if claim is not None:
            if claim.epoch != epoch or claim.folder_id not in folder.ids:
                report.error(name, 0, f"claims epoch {claim.epoch} of folder {claim.folder_id}")
        elif not any(content[:BLOCK_BYTES]):
            report.error(name, 0, "is zero, a claim was expected")
        pointer = _pointer(content[POINTER_OFFSET:SEAL_OFFSET], report, name)
        if pointer is not None:
            pointers[epoch] = pointer
        report.struct(content[SEAL_OFFSET:], name, SEAL_OFFSET, Seal)
    return pointers


def _pointer(block: bytes, report: FolderReport, name: str) -> Pointer | None:
    """Return the pointer of block 1; None if it is zero, or neither of its copies is good."""
    if not any(block):
        return None
    first, second = (report.struct(half, name, offset, Pointer) for offset, half in claimfile.pointer_halves(block))
    return first or second


async def _manifests(folder: Folder, pointers: dict[int, Pointer], report: FolderReport) -> dict[int, Manifest]:
    manifests = {}
    for epoch, pointer in pointers.items():
        try:
            manifests[epoch] = await read_manifest(folder, pointer)
        except FolderError as error:
            report.error(pointer.manifest, None, f"missing, or not what its claim points to: {error}")
    named = {pointer.manifest for pointer in pointers.values()}
    for base in await folder.names(names.MANIFESTS):
        if f"{names.MANIFESTS}/{base}" not in named:
            report.note(f"{names.MANIFESTS}/{base}", None, "orphan: the manifest of a takeover that was not finished")
    return manifests


async def _snapshots(folder: Folder, report: FolderReport) -> Index:
    """Check all snapshots; return the index of the newest good one, else an empty one."""
    best = Index(0)
    for name in reversed(await snapshots.newest(folder)):
        index = Index(0)
        try:
            report.block(await (await folder.open(name, "read")).read(0, BLOCK_BYTES), name, 0)
            await snapshots.load(folder, name, index)
        except FolderError as error:
            report.error(name, None, f"a damaged snapshot, which costs nothing but time: remove it ({error})")
        else:
            best = index
    return best


async def _mailboxes(folder: Folder, report: FolderReport) -> None:
    files = [(f"{names.MAILBOXES}/{box}", SLOTS) for box in Box]
    files += [(f"{names.MEMBERS}/{base}", 1) for base in await folder.names(names.MEMBERS)]
    for name, blocks in files:
        try:
            content = await (await folder.open(name, "read")).read(0, blocks * BLOCK_BYTES)
        except FolderError as error:
            report.error(name, None, f"missing, or cannot be read: {error}")
            continue
        for at in range(0, len(content), BLOCK_BYTES):
            report.block(content[at : at + BLOCK_BYTES], name, at)
