"""Every call of the overseer. What is refused: test_refusals, test_access, test_folder_trouble."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hanas_core.members.roles import LinkState, Role
from hanas_core.members.verdicts import Severity
from hanas_overseer.decisions import MOST_UNSEEN
from tests.unit.overseer.stage import (
    SECONDS,
    Overseer,
    Stage,
    alert,
    check_problem,
    incarnation,
    link,
    presence,
    running,
)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
async def overseer(stage: Stage) -> AsyncIterator[Overseer]:
    async with running(stage) as one:
        yield one


async def until(overseer: Overseer, condition: Any) -> dict[str, Any]:
    """Return the cluster document as soon as it satisfies ``condition``."""
    async with asyncio.timeout(20):
        while True:
            document: dict[str, Any] = await overseer.get("/v1/cluster")
            if condition(document):
                return document
            await asyncio.sleep(0.005)


async def hear(stage: Stage, overseer: Overseer, number: int) -> None:
    """Let the ``number``-th member show itself in the folder and report over the network."""
    stage.show(number - 1, presence(number))
    await until(overseer, lambda document: document["members"][number - 1]["incarnation"] == incarnation(number))
    body = {"member": f"worker-{number}", "incarnation": incarnation(number), "folderId": stage.folder_id}
    await overseer.post("/v1/report", body, 204)
    await until(overseer, lambda document: document["members"][number - 1]["heard"])


async def test_a_main_that_this_overseer_never_heard_is_named_to_no_client(stage: Stage) -> None:
    """As in a copied folder, where claim and presence are those of another cluster's main."""
    stage.register(1, 2)
    stage.show(0, presence(1, 7, role=Role.MAIN))
    stage.show(1, presence(2, 3))
    stage.claim(1, 1)
    async with running(stage) as overseer:
        assert await overseer.get("/v1/main") == {"epoch": 1, "main": None}
        document = await overseer.get("/v1/cluster")
        assert document["main"]["state"] == "elect"
        assert [(member["alive"], member["heard"]) for member in document["members"]] == [(None, False)] * 2
        stage.show(0, presence(1, 8, role=Role.MAIN))
        document = await until(overseer, lambda document: document["members"][0]["heard"])
        assert document["main"]["state"] == "serving"
        assert (await overseer.get("/v1/main"))["main"]["incarnation"] == incarnation(1)
        await until(overseer, lambda document: not document["members"][0]["alive"])
        assert await overseer.get("/v1/main") == {"epoch": 1, "main": None}


async def test_the_first_to_come_is_the_main_and_later_ones_join(stage: Stage, overseer: Overseer) -> None:
    main = {
        "member": "worker-1",
        "incarnation": incarnation(1),
        "advertiseUrl": "http://host-1:3001",
        "linkUrl": "http://host-1:4001",
        "epoch": 1,
        "state": "elect",
    }
    assert await overseer.get("/v1/main") == {"epoch": 0, "main": None}
    assert await overseer.post("/v1/claim", stage.arrival(1)) == {"role": "main", "epoch": 1, "main": main, "slot": 0}
    assert await overseer.get("/v1/main") == {"epoch": 1, "main": None}
    await hear(stage, overseer, 1)
    assert await overseer.get("/v1/main") == {"epoch": 1, "main": main}
    second = await overseer.post("/v1/claim", stage.arrival(2))
    assert second == {"role": "backup", "epoch": 1, "main": main, "slot": 1}
    assert [member["member"] for member in (await overseer.get("/v1/pool"))["members"]] == ["worker-1", "worker-2"]


async def test_arriving_again_changes_nothing(stage: Stage, overseer: Overseer) -> None:
    first = await overseer.post("/v1/claim", stage.arrival(1))
    assert await overseer.post("/v1/claim", stage.arrival(1)) == first
    assert stage.claims() == 1


async def test_invented_members_do_not_use_up_the_slots(stage: Stage, overseer: Overseer) -> None:
    stage.register(1, 2)
    stage.show(0, presence(1))
    stage.show(1, presence(2))
    for number in range(3, 3 + MOST_UNSEEN):
        await overseer.post("/v1/claim", stage.arrival(number))
    answer = await overseer.http.post("/v1/claim", json=stage.arrival(99))
    assert "a worker that can use the folder registers itself" in check_problem(answer, 503)["detail"]
    assert (await overseer.post("/v1/claim", stage.arrival(1)))["slot"] == 0, "who is registered may come back"
    stage.show(2, presence(3))
    assert (await overseer.post("/v1/claim", stage.arrival(99)))["slot"] == 2 + MOST_UNSEEN


async def test_of_many_that_arrive_at_once_one_is_the_main(stage: Stage, overseer: Overseer) -> None:
    places = await asyncio.gather(*[overseer.post("/v1/claim", stage.arrival(number)) for number in range(1, 9)])
    assert sorted(place["role"] for place in places) == ["backup"] * 7 + ["main"]
    assert sorted(place["slot"] for place in places) == list(range(8))
    assert len({place["main"]["incarnation"] for place in places}) == 1


async def test_a_takeover_is_granted_to_one_and_the_other_is_told_the_present_main(
    stage: Stage, overseer: Overseer
) -> None:
    for number in (1, 2, 3):
        await overseer.post("/v1/claim", stage.arrival(number))
    granted = await overseer.post("/v1/takeover", stage.challenge(2, 1, 1))
    assert granted["epoch"] == 2
    assert granted["main"]["member"] == "worker-2"
    answer = await overseer.http.post("/v1/takeover", json=stage.challenge(3, 1, 1))
    problem = check_problem(answer, 409)
    assert (problem["epoch"], problem["main"]) == (2, granted["main"])
    await hear(stage, overseer, 2)
    assert await overseer.get("/v1/main") == granted


async def test_asking_again_after_a_granted_takeover_is_granted_again(stage: Stage, overseer: Overseer) -> None:
    for number in (1, 2):
        await overseer.post("/v1/claim", stage.arrival(number))
    first = await overseer.post("/v1/takeover", stage.challenge(2, 1, 1))
    assert await overseer.post("/v1/takeover", stage.challenge(2, 1, 1)) == first
    assert stage.claims() == 2


async def test_the_name_alone_is_no_reason(stage: Stage, overseer: Overseer) -> None:
    """Names come back (ABA): what counts is the number of the epoch."""
    for number in (1, 2):
        await overseer.post("/v1/claim", stage.arrival(number))
    await overseer.post("/v1/takeover", stage.challenge(2, 1, 1))
    await overseer.post("/v1/takeover", stage.challenge(1, 2, 2))
    problem = await overseer.post("/v1/takeover", stage.challenge(2, 1, 1), 409)
    assert (problem["epoch"], problem["main"]["member"]) == (3, "worker-1")


async def test_a_challenger_is_reached_where_it_shows_itself(stage: Stage, overseer: Overseer) -> None:
    for number in (1, 2, 3):
        await overseer.post("/v1/claim", stage.arrival(number))
    stage.show(1, presence(2, advertise_url="http://moved:1", link_url="http://moved:2"))
    moved = await overseer.post("/v1/takeover", stage.challenge(2, 1, 1))
    assert (moved["main"]["advertiseUrl"], moved["main"]["linkUrl"]) == ("http://moved:1", "http://moved:2")
    unseen = await overseer.post("/v1/takeover", stage.challenge(3, 2, 2))
    assert unseen["main"]["advertiseUrl"] == "http://host-3:3001"


async def test_a_hand_over_is_followed_at_once_but_only_a_real_one(stage: Stage, overseer: Overseer) -> None:
    stage.register(1, 2)
    made = stage.claim(1, 1)
    body = stage.challenge(2, 1, 1, verdict="HandedOver")
    answer = await overseer.http.post("/v1/takeover", json=body)
    assert "has not handed over" in check_problem(answer, 400)["detail"]
    stage.hand_over(made)
    await hear(stage, overseer, 1)
    await until(overseer, lambda document: document["main"]["state"] == "handed-over")
    assert (await overseer.post("/v1/takeover", body))["epoch"] == 2
    assert (await overseer.get("/v1/takeovers"))["takeovers"][1]["why"] == "hand-over"


async def test_the_history_tells_why_and_with_what_evidence(stage: Stage, overseer: Overseer) -> None:
    for number in (1, 2):
        await overseer.post("/v1/claim", stage.arrival(number))
    await overseer.post("/v1/takeover", stage.challenge(2, 1, 1))
    first, second = (await overseer.get("/v1/epochs"))["epochs"]
    assert await overseer.get("/v1/takeovers") == {"takeovers": [first, second]}
    assert first["words"] == "worker-1 was the first to claim and became the main"
    assert (first["previousMain"], first["verdict"], first["evidence"], first["follows"]) == (None, None, None, 0)
    assert second["claimedAt"]
    assert {name: second[name] for name in second if name != "claimedAt"} == {
        "epoch": 2,
        "member": "worker-2",
        "incarnation": incarnation(2),
        "follows": 1,
        "previousMain": "worker-1",
        "why": "failure",
        "verdict": "PrimaryFailed",
        "words": "it did not answer",
        "evidence": {"words": "it did not answer"},
        "served": False,
        "seconds": None,
        "durations": None,
    }


async def test_an_epoch_serves_once_it_has_its_manifest(stage: Stage, overseer: Overseer) -> None:
    stage.register(1)
    made = stage.claim(1, 1, served=False)
    await until(overseer, lambda document: document["epoch"] == 1)
    stage.serve(made)
    document = await until(overseer, lambda document: document["takeovers"][0]["served"])
    assert document["takeovers"][0]["seconds"] == SECONDS
    assert document["main"]["state"] == "elect"
    await hear(stage, overseer, 1)
    document = await overseer.get("/v1/cluster")
    assert document["main"]["state"] == "serving"


async def test_members_links_and_alerts_come_from_those_who_live(stage: Stage, overseer: Overseer) -> None:
    stage.register(1, 2, 3)
    stage.claim(1, 1)
    stage.show(0, presence(1, role=Role.MAIN, links=(link(1, 2),)))
    stage.show(1, presence(2, alerts=(alert("a"),), links=(link(2, 1, LinkState.FAILED),)))
    document = await until(overseer, lambda document: document["alerts"])
    assert [member["role"] for member in document["members"]] == ["main", "backup", "joining"]
    assert document["links"] == [
        {"from": "worker-1", "to": "worker-2", "state": "up", "sinceSeconds": 1.0},
        {"from": "worker-2", "to": "worker-1", "state": "failed", "sinceSeconds": 1.0},
    ]
    assert (await overseer.get("/v1/alerts"))["alerts"] == document["alerts"]


async def test_a_member_that_falls_silent_raises_an_alert_until_it_is_back(stage: Stage, overseer: Overseer) -> None:
    stage.register(1, 2)
    stage.claim(1, 1)
    stage.show(1, presence(2, 1))
    counter = 1

    def main_lives(document: dict[str, Any]) -> bool:
        nonlocal counter
        counter += 1
        stage.show(0, presence(1, counter, role=Role.MAIN))
        return bool(document["alerts"])

    document = await until(overseer, main_lives)
    (found,) = document["alerts"]
    assert (found["about"], found["severity"], found["kind"]) == ("worker-2", Severity.URGENT, "Unknown")
    assert not document["members"][1]["alive"]
    stage.show(1, presence(2, 2))
    document = await until(overseer, lambda document: document["members"][1]["alive"])
    assert document["alerts"] == []


async def test_probes_and_metrics(stage: Stage, overseer: Overseer) -> None:
    stage.register(1, 2, 3)
    stage.claim(1, 1)
    stage.show(0, presence(1, role=Role.MAIN, links=(link(1, 2, LinkState.FAILED),), alerts=(alert("a"),)))
    stage.show(2, presence(3, left=True))
    await until(overseer, lambda document: document["alerts"])
    assert (await overseer.http.get("/healthz")).text == "ok\n"
    assert (await overseer.http.get("/readyz")).text == "ready\n"
    await overseer.post("/v1/takeover", stage.challenge(2, 1, 1))
    await overseer.post("/v1/takeover", stage.challenge(1, 1, 1), 409)
    await until(overseer, lambda document: document["epoch"] == 2)
    text = (await overseer.http.get("/metrics")).text
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values["hanas_epoch",] == 2
    assert values["hanas_member_alive", "worker-1"] == 1
    assert values["hanas_member_alive", "worker-2"] == 0
    assert values["hanas_member_main", "worker-2"] == 1
    assert ("hanas_member_alive", "worker-3") not in values
    assert values["hanas_links", "failed"] == 1
    assert values["hanas_link_failed", "worker-1", "worker-2"] == 1
    assert values["hanas_alert", "worker-1", "LinkFailed", "worker-2", "notice"] == 1
    assert values["hanas_member_verdict", "worker-1", "Healthy"] == 1
    assert values["hanas_alerts", "notice"] == 1
    assert values["hanas_overseer_rulings_total", "yes"] == 1
    assert values["hanas_overseer_rulings_total", "no"] == 1
    assert 0 <= values["hanas_overseer_folder_age_seconds",] < 5


async def test_the_dashboard_is_one_document_that_asks_nobody_else(overseer: Overseer) -> None:
    answer = await overseer.http.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for foreign in ("src=", "@import", "innerHTML", "/*STYLE*/", "/*SCRIPT*/"):
        assert foreign not in answer.text
    outside = answer.text.replace("http://www.w3.org/2000/svg", "").replace("url(#arrow", "")
    assert "url(" not in outside
    assert "https://" not in outside
    assert '"http://' not in outside
