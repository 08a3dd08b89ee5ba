"""Files that are removed, replaced or restored under a running cluster: said at once, and nothing more acknowledged."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hanas_core.volume import names
from tests.integration.cluster import Cluster, running
from tests.integration.places import PATIENT
from tests.integration.waiting import eventually

UNAVAILABLE = "FolderUnavailable"


def folder_of(directory: Path) -> Path:
    return directory / "communication"


def remove_everything(folder: Path, main_epoch: int) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def remove_the_log(folder: Path, main_epoch: int) -> None:
    for segment in (folder / names.SEGMENTS).iterdir():
        segment.unlink()


def remove_the_claim(folder: Path, main_epoch: int) -> None:
    (folder / names.claim(main_epoch)).unlink()


def move_away(folder: Path, main_epoch: int) -> None:
    folder.rename(folder.with_name("moved"))
    folder.mkdir()


def restore_a_copy(folder: Path, main_epoch: int) -> None:
    """What `cp -a BACKUP/. FOLDER` does: the names and the files stay, their content is older."""
    for segment in (folder / names.SEGMENTS).iterdir():
        with segment.open("r+b") as file:
            file.seek(4096)
            file.write(bytes(segment.stat().st_size - 4096))


def restore_new_files(folder: Path, main_epoch: int) -> None:
    """What `rsync -a BACKUP/ FOLDER` does: each name leads to a new file."""
    for segment in (folder / names.SEGMENTS).iterdir():
        copy = segment.with_name("copy")
        shutil.copyfile(segment, copy)
        copy.rename(segment)


async def told(cluster: Cluster) -> bool:
    """Every worker says what is wrong, and none serves."""
    for name in cluster.names:
        status = await cluster.status(name)
        messages = [alert["message"] for alert in status["alerts"] if alert["kind"] == UNAVAILABLE]
        if status["role"] == "main" or not any("not as it should be" in message for message in messages):
            return False
    return True


async def is_refused(cluster: Cluster, name: str) -> bool:
    """No write is acknowledged and no read answered, not even with "there is no such key"."""
    written = await cluster.http.put(cluster.kv(name, "late"), content=b"late")
    read = await cluster.http.get(cluster.kv(name, "k/1"))
    return {written.status_code, read.status_code} <= {307, 503}


async def write_some(cluster: Cluster) -> None:
    for number in range(10):
        await cluster.client.put(f"k/{number}", b"before")


async def none_serves(cluster: Cluster) -> bool:
    """Every worker says that it is in trouble, and each backup that it must not take over."""
    statuses = [await cluster.status(name) for name in cluster.names]
    kinds = [{alert["kind"] for alert in status["alerts"]} for status in statuses]
    return all(status["role"] == "backup" for status in statuses) and all(
        kind & {UNAVAILABLE, "TakeoverFailed"} for kind in kinds
    )


@pytest.mark.parametrize("harm", [remove_everything, remove_the_log, remove_the_claim, move_away, restore_a_copy])
async def test_nothing_is_acknowledged_on_a_folder_that_is_gone(
    tmp_path: Path, harm: Callable[[Path, int], None]
) -> None:
    async with running(tmp_path, workers=3) as cluster:
        await cluster.settle()
        await write_some(cluster)
        await cluster.until_alike()  # who has applied nothing cannot miss it: the next test
        harm(folder_of(tmp_path), await cluster.epoch())
        await eventually(lambda: told(cluster))
        for name in cluster.names:
            assert await is_refused(cluster, name)

        async def shown() -> bool:
            return any(alert.kind == UNAVAILABLE for alert in await cluster.client.alerts())

        await eventually(shown)


async def test_an_older_copy_is_not_taken_over_by_who_has_read_no_more_than_it_holds(tmp_path: Path) -> None:
    """The backups heard from the main, in its block of the folder, how far the log goes."""
    async with running(tmp_path, workers=3) as cluster:
        main = await cluster.settle()
        backups = [name for name in cluster.names if name != main]
        for name in backups:
            await cluster.lab.pause(name)
        await write_some(cluster)
        restore_a_copy(folder_of(tmp_path), await cluster.epoch())
        for name in backups:
            await cluster.lab.resume(name)
        await eventually(lambda: none_serves(cluster))
        for name in cluster.names:
            assert await is_refused(cluster, name)


async def test_a_folder_that_is_put_back_goes_on_with_everything(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    async with running(tmp_path, workers=3) as cluster:
        await cluster.settle()
        await write_some(cluster)
        move_away(folder, 0)
        await eventually(lambda: told(cluster))
        assert list(folder.iterdir()) == [], "nothing is written by name in another folder"
        folder.rmdir()
        folder.with_name("moved").rename(folder)
        await cluster.settle()
        for number in range(10):
            assert (await cluster.client.get(f"k/{number}")).value == b"before"
        await cluster.client.put("after", b"after")


async def test_segments_that_are_replaced_by_copies_end_the_epoch(tmp_path: Path) -> None:
    async with running(tmp_path, 2, None, **PATIENT) as cluster:
        await cluster.settle()
        await write_some(cluster)
        epoch = await cluster.epoch()
        for name in cluster.names:  # a batch between a copy and its new name, be it an empty one, would be lost
            await cluster.lab.pause(name)
        restore_new_files(folder_of(tmp_path), epoch)
        for name in cluster.names:
            await cluster.lab.resume(name)

        async def begun() -> bool:
            return await cluster.epoch() > epoch

        await eventually(begun)
        await cluster.settle()
        for number in range(10):
            assert (await cluster.client.get(f"k/{number}")).value == b"before"


@pytest.mark.parametrize("name", ["mailboxes/presence", "members/000", "cluster.json"])
async def test_a_file_that_is_lost_is_told_and_its_return_as_well(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path)
    async with running(tmp_path, workers=2) as cluster:
        await cluster.settle()
        (folder / name).rename(tmp_path / "kept")

        async def said() -> bool:
            alerts = [alert for worker in cluster.names for alert in (await cluster.status(worker))["alerts"]]
            return any(alert["kind"] == UNAVAILABLE and name in alert["message"] for alert in alerts)

        await eventually(said)
        (tmp_path / "kept").rename(folder / name)
        await cluster.settle()
        await cluster.client.put("after", b"after")


async def test_mailboxes_that_are_replaced_are_opened_anew(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    async with running(tmp_path, workers=2) as cluster:
        await cluster.settle()
        for box in (folder / names.MAILBOXES).iterdir():
            shutil.copyfile(box, tmp_path / "copy")
            (tmp_path / "copy").rename(box)

        async def shown() -> bool:
            return all(member.alive for member in (await cluster.client.cluster()).members)

        await eventually(shown)
        main = await cluster.settle()
        await cluster.lab.kill(main)
        await cluster.client.put("after", b"the takeover needed the mailboxes")
