"""What workers tell over the network explains a silence in the folder, and only that."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest

from hanas_core.members.documents import Report
from hanas_core.members.liveness import Liveness
from hanas_core.members.verdicts import Severity, Verdict
from hanas_overseer.reports import Reports
from tests.unit.overseer.stage import FAST, Overseer, Stage, alert, eventually, incarnation, presence, running

SILENT_FOR = 0.4
"""Long enough for a member to count as gone, seconds."""


def report(number: int = 2, folder_id: str = "f" * 16, **changes: object) -> Report:
    told = Report(member=f"worker-{number}", incarnation=incarnation(number), folder_id=folder_id)
    return msgspec.structs.replace(told, **changes)


class Told:
    """An overseer's view of worker-2, which moved last at 0."""

    def __init__(self) -> None:
        self.reports, self.liveness = Reports(FAST), Liveness(FAST)
        self.liveness.look(0.0, ["worker-2"], [presence(2)])

    def at(self, now: float) -> list[str]:
        for step in range(1, round(now * 20)):
            self.liveness.look(step / 20, ["worker-2"], [presence(2)])
        return list(self.reports.of_the_silent(now, self.liveness.look(now, ["worker-2"], [presence(2)])))


def test_who_reports_after_falling_silent_lives() -> None:
    told = Told()
    told.reports.take(0.35, report())
    assert told.at(SILENT_FOR) == ["worker-2"]


def test_the_last_report_before_a_death_proves_nothing() -> None:
    told = Told()
    told.reports.take(0.15, report())
    assert told.at(SILENT_FOR) == []


def test_a_report_is_forgotten() -> None:
    told = Told()
    told.reports.take(0.35, report())
    assert told.at(10.0) == []


def test_who_shows_itself_needs_no_report() -> None:
    told = Told()
    told.reports.take(0.1, report())
    assert told.at(0.2) == []


def test_an_earlier_run_of_a_member_does_not_speak_for_it() -> None:
    told = Told()
    told.reports.take(0.35, report(incarnation="9" * 16))
    assert told.at(SILENT_FOR) == []


def test_strangers_do_not_fill_the_memory() -> None:
    told = Told()
    for number in range(1000, 1300):
        told.reports.take(0.0, report(number))
    told.reports.take(0.1, report())
    assert told.at(SILENT_FOR) == []


@pytest.fixture
async def overseer(stage: Stage) -> AsyncIterator[Overseer]:
    async with running(stage) as overseer:
        yield overseer


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    stage = Stage(tmp_path)
    stage.register(1, 2)
    stage.show(1, presence(2))
    return stage


async def silent(overseer: Overseer) -> bool:
    return [found["about"] for found in (await overseer.get("/v1/alerts"))["alerts"]] == ["worker-2"]


async def test_a_worker_whose_folder_hangs_is_heard_over_the_network(stage: Stage, overseer: Overseer) -> None:
    await eventually(lambda: silent(overseer))
    told = alert("w2", Severity.CRITICAL, kind=Verdict.FOLDER_UNAVAILABLE, member="worker-2", about="worker-2")
    body = msgspec.to_builtins(report(2, stage.folder_id, verdict=Verdict.FOLDER_UNAVAILABLE, alerts=(told,)))
    await overseer.post("/v1/report", body, 204)
    (found,) = (await overseer.get("/v1/alerts"))["alerts"]
    assert (found["kind"], found["member"], found["id"]) == ("FolderUnavailable", "worker-2", "w2")
    member = (await overseer.get("/v1/pool"))["members"][1]
    assert (member["alive"], member["verdict"]) == (False, "FolderUnavailable")


async def test_a_report_from_another_folder_is_refused(stage: Stage, overseer: Overseer) -> None:
    await overseer.post("/v1/report", msgspec.to_builtins(report(2, "a" * 16)), 421)


async def test_a_member_that_will_not_come_back_is_forgotten_until_it_does(stage: Stage, overseer: Overseer) -> None:
    await eventually(lambda: silent(overseer))
    assert await forget(overseer, "worker-2") == 204
    assert (await overseer.get("/v1/alerts"))["alerts"] == []
    assert (await overseer.get("/v1/pool"))["members"][1]["role"] == "left"
    stage.show(1, presence(2, 2))

    async def back() -> bool:
        return bool((await overseer.get("/v1/pool"))["members"][1]["alive"])

    await eventually(back)


async def test_neither_the_living_nor_strangers_are_forgotten(stage: Stage, overseer: Overseer) -> None:
    counters = itertools.count(7)

    async def alive() -> bool:
        stage.show(1, presence(2, next(counters)))
        return bool((await overseer.get("/v1/pool"))["members"][1]["alive"])

    await eventually(alive)
    assert await forget(overseer, "worker-2") == 409
    assert await forget(overseer, "nobody") == 404


async def forget(overseer: Overseer, member: str) -> int:
    answer: httpx.Response = await overseer.http.delete(f"/v1/pool/{member}")
    return answer.status_code


async def test_members_that_are_made_up_take_nobodys_place(stage: Stage, overseer: Overseer) -> None:
    await eventually(lambda: silent(overseer))
    for number in range(1000, 1260):
        await overseer.post("/v1/report", msgspec.to_builtins(report(number, stage.folder_id)), 204)
    told = report(2, stage.folder_id, verdict=Verdict.FOLDER_UNAVAILABLE)
    await overseer.post("/v1/report", msgspec.to_builtins(told), 204)
    member = (await overseer.get("/v1/pool"))["members"][1]
    assert member["verdict"] == "FolderUnavailable"
