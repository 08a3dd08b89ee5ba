"""The growth of a cold start, of memory, and of the work of a takeover with keys, versions of history, and leases.

For each number of keys it fills a folder, starts a cluster of three on it, and kills the main several times.
With --versions or --leases the same once more with them.
Prints a line for each; with --json one document.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from hanas_client import AsyncClient, Policy
from hanas_core.epochs.takeover import promote
from hanas_core.log import records, segments
from hanas_core.log.claimfile import Claim, Pointer
from hanas_core.log.claims import claim_epoch, read_pointer
from hanas_core.log.manifests import read_manifest
from hanas_core.members import cluster
from hanas_core.state import snapshots
from hanas_core.state.judge import Write
from hanas_core.state.leases import Grant
from hanas_core.state.queue import GroupCommit
from hanas_core.state.reader import LogReader
from hanas_core.state.replica import Replica
from hanas_core.volume import names
from hanas_core.volume.blocking import run
from hanas_core.volume.posix import PosixFolder
from hanas_lab.cluster import Lab
from hanas_lab.writers import Writers

_SEGMENT_BYTES = 32 << 20
_BATCH = 1000
_TTL = 3600
"""Of leases, seconds."""


class Content(NamedTuple):
    """What a folder holds."""

    keys: int
    value_bytes: int
    versions: int = 0
    """... of history: writes of keys that are there."""
    leases: int = 0

    def requests(self) -> Iterator[Write | Grant]:
        """Yield the writes that make it."""
        value = bytes(self.value_bytes)
        for number in range(self.keys + self.versions):
            yield Write(b"bench/%012d" % (number % self.keys), value, "application/octet-stream")
        for lease in range(1, self.leases + 1):
            yield Grant(lease, _TTL)


def fill(path: Path, content: Content) -> None:
    """Write a folder as a main would, with a snapshot near its end, and leave it as if that main had been killed."""
    path.mkdir(parents=True)
    folder = PosixFolder(path)
    identity = run(cluster.initialise(folder))
    incarnation = folder.nonce()
    claim = Claim(
        epoch=1,
        member="filler",
        incarnation=incarnation,
        nonce=folder.nonce(),
        advertise_url="http://localhost:1",
        link_url="http://localhost:1",
        folder_id=identity.folder_id,
        follows=0,
    )
    run(claim_epoch(folder, claim))

    def spare() -> str:
        return run(segments.prepare(folder, "filler", incarnation, _SEGMENT_BYTES))

    replica = Replica(0)
    promotion = run(
        promote(
            folder,
            claim,
            replica,
            spare=spare(),
            segment_bytes=_SEGMENT_BYTES,
            commit_position=None,
            clock=time.monotonic,
            progress=lambda _: None,
        )
    )
    log, commits = promotion.log, GroupCommit[int](replica, 1, 1, form=records.REVISED)
    requests = enumerate(content.requests())
    while some := list(islice(requests, _BATCH)):
        for number, request in some:
            commits.submit(request, number)
        while commits.waiting:
            if log.spare is None:
                prepared = spare()
                run(log.name_ahead(prepared))
                log.spare = prepared
            batch = commits.next_batch(log.room)
            if batch is None:
                raise SystemExit("a batch does not fit into a new segment")
            commits.committed(run(log.commit(batch)))
    if log.committed is None:
        raise SystemExit("nothing was committed")
    header = snapshots.SnapshotHeader(
        folder_id=identity.folder_id,
        position=log.committed,
        sequence=replica.index.sequence,
        revision=replica.index.revision,
        form=replica.index.form,
        merged=(),
        keys=0,
        size=0,
    )
    temporary = names.temporary("filler", incarnation, folder.nonce())
    file, frames = snapshots.SnapshotFile(folder, temporary, header), snapshots.SnapshotFrames(replica.index)
    for payload in frames:
        run(file.write(payload))
    run(file.finish(frames.ending))


def memory_bytes() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def cold_start(path: Path, *, with_snapshot: bool) -> tuple[float, int, float]:
    """Return the seconds of a new reader, the keys, and the bytes of memory for each, without the key itself."""
    before = memory_bytes()
    replica = Replica(0)
    hidden = path / "hidden-snapshots"
    if not with_snapshot:
        (path / names.SNAPSHOTS).rename(hidden)
        (path / names.SNAPSHOTS).mkdir()
    try:
        began = time.perf_counter()
        reader = LogReader(PosixFolder(path), replica.cache_bytes)
        course = run(reader.follow(1, replica.applied))
        if course is None:
            raise SystemExit("epoch 1 has no manifest")
        replica.install(course)
        reader.tailer.know_relogged()
        at_end = False
        while not at_end:
            step = run(reader.step())
            replica.take(step)
            at_end = step.at_end
        took = time.perf_counter() - began
    finally:
        if not with_snapshot:
            (path / names.SNAPSHOTS).rmdir()
            hidden.rename(path / names.SNAPSHOTS)
    keys = len(replica.index)
    return took, keys, (memory_bytes() - before) / max(keys, 1) - len("bench/") - 12


async def takeovers(directory: str, kills: int) -> tuple[list[float], list[float]]:
    """Return for each kill the seconds from claim to serving, and those until the first acknowledged write."""
    work: list[float] = []
    failovers: list[float] = []
    lab = Lab(directory, 3, overseer_port=0, first_port=0)
    async with (
        lab,
        AsyncClient(lab.overseer_url, list(lab.urls.values()), policy=Policy(read=1.0, deadline=60.0)) as client,
        Writers(client, writers=2, rest=0.005) as load,
    ):
        for _ in range(kills):
            await load.more(50)
            before = await client.cluster()
            if before.main is None or before.epoch is None:
                raise SystemExit("there is no main although writes are acknowledged")
            await until_warm(client, list(lab.urls.values()))
            began = time.monotonic()
            await lab.kill(before.main.member)
            failovers.append(await load.acknowledged_after(before.epoch) - began)
            await lab.start_worker(before.main.member)
            work.append(work_of_a_takeover(lab.communication_folder, before.epoch + 1))
    return work, failovers


def work_of_a_takeover(path: Path, epoch: int) -> float:
    """Return the seconds in which the winner of `epoch` sealed, read the rest of the log, and re-logged."""
    folder = PosixFolder(path)
    pointer = run(read_pointer(folder, epoch))
    if not isinstance(pointer, Pointer):
        raise SystemExit(f"epoch {epoch} has no manifest although it acknowledged a write")
    return sum(run(read_manifest(folder, pointer)).seconds.values())


async def until_warm(client: AsyncClient, urls: list[str]) -> None:
    """Wait until every worker has applied almost the whole log."""
    while True:
        keys = [int(str((await client.status(url))["keys"])) for url in urls]
        if max(keys) - min(keys) < 100:
            return
        await asyncio.sleep(0.1)


def measure(content: Content, kills: int) -> dict[str, Any]:
    """Return the figures for one folder."""
    with tempfile.TemporaryDirectory(prefix="hanas-growth-") as directory:
        path = Path(directory) / "communication"
        fill(path, content)
        took, count, each = cold_start(path, with_snapshot=True)
        replayed, _, _ = cold_start(path, with_snapshot=False)
        work, failovers = asyncio.run(takeovers(directory, kills))
        return {
            "keys": content.keys,
            "versions": content.versions,
            "leases": content.leases,
            "cold_start_seconds": round(took, 4),
            "cold_start_keys_per_second": round(count / took),
            "without_snapshot_keys_per_second": round(count / replayed),
            "memory_bytes_per_key": round(each, 1),
            "takeover_work_seconds_median": round(statistics.median(work), 4),
            "failover_seconds_median": round(statistics.median(failovers), 4),
            "kills": kills,
        }


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, nargs="*", default=[1_000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--value-bytes", type=int, default=64)
    parser.add_argument("--versions", type=int, default=0, help="of history")
    parser.add_argument("--leases", type=int, default=0)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    figures = []
    contents = [Content(keys, arguments.value_bytes) for keys in arguments.keys]
    if arguments.versions or arguments.leases:
        more = [content._replace(versions=arguments.versions, leases=arguments.leases) for content in contents]
        contents = list(chain.from_iterable(zip(contents, more, strict=True)))
    for content in contents:
        figures.append(measure(content, arguments.kills))
        if not arguments.json:
            print(figures[-1], flush=True)
    if arguments.json:
        print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
