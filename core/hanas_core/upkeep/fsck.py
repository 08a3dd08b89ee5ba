"""Checks a folder that nobody uses, without changing it: flipped bits, torn tails, missing segments, orphans.

Whatever keeps a worker from starting, or a takeover from succeeding, is an error that names its file. What a kill or a
loss of power may leave behind at any moment is a note at most.
"""

from hanas_core.log import claimfile
from hanas_core.log.claimfile import POINTER_OFFSET, SEAL_OFFSET, Claim, Pointer, Seal
from hanas_core.log.manifests import Manifest, read_manifest
from hanas_core.members import cluster
from hanas_core.members.witness import Witness
from hanas_core.state import snapshots
from hanas_core.state.index import Index
from hanas_core.upkeep.findings import FolderReport
from hanas_core.upkeep.logcheck import LogCheck
from hanas_core.upkeep.membercheck import check_mailboxes, check_registrations
from hanas_core.upkeep.statecheck import Good, check_snapshot
from hanas_core.volume import names
from hanas_core.volume.errors import FolderError, KeyMissing
from hanas_core.volume.folder import BLOCK_BYTES, Folder


async def check(folder: Folder) -> FolderReport:
    """Read everything in ``folder`` and return what was found. Raises WrongFolder if it is none of ours."""
    identity = await cluster.identify(folder)
    report = FolderReport()
    pointers, highest = await _claims(folder, report)
    manifests = await _manifests(folder, pointers, report)
    snapshot = await _snapshots(folder, report)
    log = LogCheck(folder, report, Index(0) if snapshot is None else snapshot.state)
    report.epoch = max(manifests, default=0)
    if report.epoch:
        await log.read(manifests[report.epoch])
    if snapshot is not None and log.sound:
        await check_snapshot(folder, log.end, snapshot, report)
    for base in await report.listed(folder, names.SEGMENTS):
        segment, name = names.segment_of(base), f"{names.SEGMENTS}/{base}"
        if segment is None:
            report.strange(name)
        elif name not in log.named:
            report.note(name, None, "orphan: no part of the log; the main removes it")
        if segment is not None and segment[0] > highest:  # made by whoever had seen its claim durable
            report.error(names.claim(segment[0]), None, f"missing: the main of this epoch made {name}")
            highest = segment[0]
    for base in await report.listed(folder, names.TEMPORARY):
        report.note(
            f"{names.TEMPORARY}/{base}", None, "temporary: its worker removes it at its next start, or the main"
        )
    slots = await check_registrations(folder, report)
    _compare(await check_mailboxes(folder, slots, report, identity.folder_id), highest, log, report)
    return report


def _compare(witness: Witness, highest: int, log: LogCheck, report: FolderReport) -> None:
    """Report what the members know of, and what is gone."""
    committed = witness.committed
    if witness.claim > highest:
        report.error(names.claim(witness.claim), None, "missing: a member has seen it")
    elif committed.epoch > report.epoch:
        report.error(names.claim(committed.epoch), POINTER_OFFSET, f"is gone, but {committed} was committed")
    elif committed.epoch == report.epoch and committed > log.end:
        name, end = names.segment(*log.end[:2]), log.end.offset
        report.error(name, end, f"the log ends here, but a member knows that it was committed up to {committed}")


async def _claims(folder: Folder, report: FolderReport) -> tuple[dict[int, Pointer], int]:
    """Check all claims; return the pointers by epoch, and the highest epoch."""
    pointers: dict[int, Pointer] = {}
    seals: dict[int, bytes] = {}
    owners: set[str] = set()
    before = 0
    for base in await report.listed(folder, names.CLAIMS):
        epoch, name = names.epoch_of_claim(base), f"{names.CLAIMS}/{base}"
        if not epoch:
            report.strange(name)
            continue
        if epoch > before + 1:
            gap = f"missing: there is no claim of the epochs {before + 1} to {epoch - 1}"
            report.error(names.claim(before + 1), None, gap)
        before = epoch
        content = await report.content(folder, name, claimfile.FILE_BYTES)
        if content is None:
            continue
        claim = report.struct(content[:BLOCK_BYTES], name, 0, Claim)
        if claim is not None:
            owners.add(claim.folder_id)
            if claim.epoch != epoch or claim.folder_id not in folder.ids:
                report.error(name, 0, f"claims epoch {claim.epoch} of folder {claim.folder_id}")
        elif not any(content[:BLOCK_BYTES]):
            report.error(name, 0, "is zero, a claim was expected")
        pointer = _pointer(content[POINTER_OFFSET:SEAL_OFFSET], report, name)
        if pointer is not None:
            pointers[epoch] = pointer
        seals[epoch] = content[SEAL_OFFSET:]
    if owners and not owners & folder.ids:
        what = f"names none of the folders whose claims are here ({', '.join(sorted(owners)[:3])})"
        report.error(names.CLUSTER, 0, f"{what}: the file is damaged, or all claims are of another folder")
    newest = max(pointers, default=0)
    for epoch, seal in seals.items():
        if epoch < newest:  # whoever followed has written it anew, durably
            report.struct(seal, names.claim(epoch), SEAL_OFFSET, Seal)
        else:
            torn = "torn: it ends the epoch all the same, and the next main writes it anew"
            report.struct(seal, names.claim(epoch), SEAL_OFFSET, Seal, torn=torn)
    return pointers, before


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
    for base in await report.listed(folder, names.MANIFESTS):
        if f"{names.MANIFESTS}/{base}" not in named:
            what = "orphan: the manifest of a takeover that was not finished; the main removes it"
            report.note(f"{names.MANIFESTS}/{base}", None, what)
    return manifests


async def _snapshots(folder: Folder, report: FolderReport) -> Good | None:
    """Check all snapshots by themselves; return the newest good one."""
    best = None
    for base in await report.listed(folder, names.SNAPSHOTS):
        name, index = f"{names.SNAPSHOTS}/{base}", Index(0)
        if not names.is_snapshot(base):
            report.strange(name)
            continue
        try:
            report.block(await (await folder.open(name, "read")).read(0, BLOCK_BYTES), name, 0)
            header = await snapshots.load(folder, name, index)
        except KeyMissing as error:
            report.note(name, 0, f"encrypted with the key {error.key_id}: its contents are not checked")
            continue
        except FolderError as error:
            report.error(name, None, f"a damaged snapshot, which costs nothing but time: remove it ({error})")
            continue
        if snapshots.name_of(header.position) != name:
            report.error(name, 0, f"is the snapshot at {header.position}: remove it")
            continue
        best = Good(name, header.position, index)
    return best
