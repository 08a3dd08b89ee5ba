"""A folder that hangs, breaks, is another one or holds broken files; and what other overseers and restarts change."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hanas_core.volume import names
from hanas_core.volume.folder import Access
from hanas_core.volume.posix import PosixFile, PosixFolder
from hanas_overseer import history
from hanas_overseer.observer import Observation, Observer
from tests.unit.overseer.stage import FAST, Overseer, Stage, check_problem, eventually, presence, running, started

READING = ["/v1/main", "/v1/pool", "/v1/cluster", "/v1/epochs", "/v1/takeovers", "/v1/alerts"]


class HangingFolder(PosixFolder):
    """Opening a file hangs while `hang` is set."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.free = threading.Event()
        self.free.set()

    async def open(self, name: str, access: Access) -> PosixFile:
        self.free.wait()  # it blocks its thread, as a hung mount does
        return await super().open(name, access)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def hanging(stage: Stage) -> Iterator[HangingFolder]:
    folder = HangingFolder(stage.path)
    yield folder
    folder.free.set()


IMPATIENT = msgspec.structs.replace(FAST, folder_timeout=0.1)


async def until_ready(overseer: Overseer, status: int) -> None:
    async def answered() -> bool:
        return (await overseer.http.get("/readyz")).status_code == status

    await eventually(answered)


async def test_a_hung_folder_freezes_nothing_and_is_told(stage: Stage, hanging: HangingFolder) -> None:
    stage.register(1, 2)
    stage.claim(1, 1)
    async with started(Overseer(hanging, stage.folder_id, timing=IMPATIENT)) as overseer:
        await overseer.get("/v1/cluster")
        hanging.free.clear()
        await until_ready(overseer, 503)
        assert (await overseer.http.get("/healthz")).status_code == 200
        for path in READING:
            answer = await overseer.http.get(path)
            assert "FolderUnavailable" in check_problem(answer, 503)["detail"]
            assert answer.headers["retry-after"] == "1"
        for path, body in (("/v1/claim", stage.arrival(3)), ("/v1/takeover", stage.challenge(2, 1, 1))):
            for _ in range(2):
                answer = await overseer.http.post(path, json=body)
                assert "FolderUnavailable" in check_problem(answer, 503)["detail"]
                assert answer.headers["retry-after"] == "1"
        assert overseer.watcher.board.published is not None
        (alert,) = overseer.watcher.board.published.cluster.alerts
        assert (alert.kind, alert.severity, alert.member) == ("FolderUnavailable", "critical", "overseer")
        assert overseer.watcher.board.published.cluster.epoch == 1
        hanging.free.set()
        await until_ready(overseer, 200)

        async def arrived() -> bool:
            return (await overseer.http.post("/v1/claim", json=stage.arrival(3))).status_code == 200

        await eventually(arrived)
        assert (await overseer.get("/v1/alerts"))["alerts"] == []


async def test_a_folder_that_hangs_from_the_start_is_not_ready(stage: Stage, hanging: HangingFolder) -> None:
    hanging.free.clear()
    async with started(Overseer(hanging, stage.folder_id, timing=IMPATIENT)) as overseer:
        check_problem(await overseer.http.get("/readyz"), 503)
        check_problem(await overseer.http.get("/v1/cluster"), 503)
        metrics = (await overseer.http.get("/metrics")).text
        assert "hanas_overseer_folder_age_seconds -1" in metrics
        assert "hanas_epoch" not in metrics


async def test_silence_while_the_folder_could_not_be_read_is_nobodys_fault(
    stage: Stage, hanging: HangingFolder
) -> None:
    stage.register(1)
    stage.claim(1, 1)
    stage.show(0, presence(1, 1))
    timing = msgspec.structs.replace(IMPATIENT, presence_interval=0.2)
    async with started(Overseer(hanging, stage.folder_id, timing=timing)) as overseer:
        await overseer.get("/v1/cluster")
        hanging.free.clear()
        await asyncio.sleep(1.0)  # longer than three presence intervals: time itself is the subject
        hanging.free.set()
        await until_ready(overseer, 200)
        members = (await overseer.get("/v1/pool"))["members"]
        assert members[0]["alive"] is not False


async def test_another_folder_at_the_same_path_is_unavailable(stage: Stage) -> None:
    """An unmounted volume, or another one mounted: never an empty cluster."""
    async with running(stage) as overseer:
        await overseer.post("/v1/claim", stage.arrival(1))
        stage.path.rename(stage.path.with_name("unmounted"))
        other = Stage(_made(stage.path))
        for path, body in (("/v1/claim", stage.arrival(2)), ("/v1/takeover", stage.challenge(1, 1, 1))):
            answer = await overseer.http.post(path, json=body)
            assert other.folder_id in check_problem(answer, 503)["detail"]
        assert other.claims() == 0
        check_problem(await overseer.http.get("/v1/main"), 503)


def _made(path: Path) -> Path:
    path.mkdir()
    return path


async def test_a_broken_old_claim_hides_nothing_else(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.register(1)
    for epoch in range(1, 5):
        stage.claim(epoch, 1)
    (stage.path / names.claim(2)).write_bytes(b"x" * 3 * 4096)
    async with running(stage) as overseer:
        entries = (await overseer.get("/v1/takeovers"))["takeovers"]
    assert [entry["epoch"] for entry in entries] == [1, 3, 4]
    assert "the history omits epoch 2" in caplog.text


async def test_a_broken_manifest_pointer_or_a_lost_manifest_costs_only_the_durations(stage: Stage) -> None:
    stage.register(1)
    for epoch in (1, 2):
        stage.claim(epoch, 1)
    for name in (stage.path / names.MANIFESTS).iterdir():
        name.unlink()
    async with running(stage) as overseer:
        entries = (await overseer.get("/v1/takeovers"))["takeovers"]
    assert [(entry["served"], entry["seconds"]) for entry in entries] == [(True, None)] * 2


async def test_a_broken_highest_claim_is_told(stage: Stage) -> None:
    stage.register(1)
    stage.claim(1, 1)
    (stage.path / names.claim(1)).write_bytes(b"x" * 3 * 4096)
    async with running(stage) as overseer:
        answer = await overseer.http.get("/v1/main")
        assert names.claim(1) in check_problem(answer, 503)["detail"]


async def test_an_unexpected_error_is_trouble_but_not_the_end(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(self: Observer) -> None:
        raise ZeroDivisionError

    async with running(stage) as overseer:
        with monkeypatch.context() as patch:
            patch.setattr(Observer, "look", broken)
            overseer.watcher.changed()
            answer = await overseer.http.get("/v1/main")
            assert "ZeroDivisionError" in check_problem(answer, 503)["detail"]
        assert "Traceback" in caplog.text

        async def works() -> bool:
            return not overseer.watcher.trouble

        await eventually(works)
        assert (await overseer.get("/v1/main"))["epoch"] == 0


async def test_a_long_history_is_read_backwards_and_delays_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "BACKFILL_EPOCHS", 2)
    stage.register(1)
    for epoch in range(1, 9):
        stage.claim(epoch, 1, served=False)
    observer = Observer(stage.folder, stage.folder_id, Observation())
    spans = []
    for _ in range(5):
        observation = await observer.look()
        spans.append([entry.epoch for entry in observation.takeovers])
        assert observation.highest == 8
        assert observation.complete == (observation.lowest == 1)
    assert spans[0] == [6, 7, 8]
    assert spans[1] == [4, 5, 6, 7, 8]
    assert spans[3] == spans[4] == list(range(1, 9))


async def test_an_observer_goes_on_from_the_last_look_of_another(stage: Stage) -> None:
    """One that was given up is never used again, and what it has read is not read once more."""
    stage.register(1, 2)
    for epoch in range(1, 4):
        stage.claim(epoch, 1)
    last = await Observer(stage.folder, stage.folder_id, Observation()).look()
    for name in (names.member(0), names.claim(1)):
        (stage.path / name).unlink()
    stage.claim(4, 2)
    sight = await Observer(stage.folder, stage.folder_id, last).look()
    assert sight.registrations == last.registrations
    assert [entry.epoch for entry in sight.takeovers] == [1, 2, 3, 4]
    assert (sight.highest, sight.lowest) == (4, 1)


async def test_the_history_is_no_answer_before_it_is_complete(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "BACKFILL_EPOCHS", 1)
    stage.register(1)
    for epoch in range(1, 6):
        stage.claim(epoch, 1, served=False)
    overseer = Overseer(stage.folder, stage.folder_id)
    await overseer.watcher.look()
    answer = await overseer.http.get("/v1/takeovers")
    assert "still being read" in check_problem(answer, 503)["detail"]
    assert len((await overseer.get("/v1/cluster"))["takeovers"]) == 2
    for _ in range(3):
        await overseer.watcher.look()
    assert len((await overseer.get("/v1/takeovers"))["takeovers"]) == 5


class StaleFolder(PosixFolder):
    """Answers look-ups of registrations from a cache, until its directory is refreshed."""

    stale = True

    async def open(self, name: str, access: Access) -> PosixFile:
        if self.stale and name == names.member(1):
            return await super().open(name + "-cached-as-missing", access)
        return await super().open(name, access)

    async def refresh(self, directory: str) -> None:
        self.stale = self.stale and directory != names.MEMBERS
        await super().refresh(directory)


async def test_a_member_that_shows_itself_is_looked_for_past_the_cache(stage: Stage) -> None:
    stage.register(1, 2)
    observer = Observer(StaleFolder(stage.path), stage.folder_id, Observation())
    assert len((await observer.look()).registrations) == 1
    stage.show(1, presence(2))
    observation = await observer.look()
    assert [found.member for found in observation.registrations] == ["worker-1", "worker-2"]
    assert observation.presences == (None, presence(2))


async def test_a_challenger_is_looked_for_past_the_cache(stage: Stage) -> None:
    stage.register(1, 2)
    stage.claim(1, 1)
    async with started(Overseer(StaleFolder(stage.path), stage.folder_id)) as overseer:
        assert (await overseer.post("/v1/takeover", stage.challenge(2, 1, 1)))["epoch"] == 2


async def test_a_block_in_somebody_elses_slot_says_nothing(stage: Stage) -> None:
    stage.register(1)
    stage.show(0, presence(7))
    observation = await Observer(stage.folder, stage.folder_id, Observation()).look()
    assert [registration.member for registration in observation.registrations] == ["worker-1"]
    assert observation.presences == (None,)
    async with running(stage) as overseer:
        [member] = (await overseer.get("/v1/pool"))["members"]
        assert (member["member"], member["role"], member["alive"]) == ("worker-1", "joining", False)


async def test_two_overseers_decide_as_one(stage: Stage) -> None:
    async with running(stage) as one, running(stage) as other:
        first = await one.post("/v1/claim", stage.arrival(1))
        second = await other.post("/v1/claim", stage.arrival(2))
        assert second["main"] == first["main"]
        assert (first["slot"], second["slot"]) == (0, 1)
        answers = await asyncio.gather(
            one.http.post("/v1/takeover", json=stage.challenge(1, 1, 1)),
            other.http.post("/v1/takeover", json=stage.challenge(2, 1, 1)),
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        assert stage.claims() == 2

        async def agreed() -> bool:
            return bool(await one.get("/v1/takeovers") == await other.get("/v1/takeovers"))

        await eventually(agreed)
        assert await one.get("/v1/main") == await other.get("/v1/main")
        assert (await one.get("/v1/main"))["epoch"] == 2


async def test_a_restart_keeps_everything(stage: Stage) -> None:
    paths = ["/v1/main", "/v1/pool", "/v1/cluster", "/v1/epochs", "/v1/takeovers", "/v1/alerts"]
    async with running(stage) as overseer:
        for number in (1, 2, 3):
            await overseer.post("/v1/claim", stage.arrival(number))
        await overseer.post("/v1/takeover", stage.challenge(3, 1, 1))
        before = [await overseer.get(path) for path in paths]
    async with running(stage) as overseer:
        assert [await overseer.get(path) for path in paths] == before
        assert (await overseer.post("/v1/claim", stage.arrival(2)))["slot"] == 1
        assert (await overseer.post("/v1/takeover", stage.challenge(2, 1, 1), 409))["epoch"] == 2
