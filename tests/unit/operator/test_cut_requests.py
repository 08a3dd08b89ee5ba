"""HANasLinkFailure resources: they cut as entries of the spec do, end by themselves, and tell what the workers see."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hanas_operator import durations, kinds, names
from hanas_operator.api import ApiError
from hanas_operator.view import ClusterView
from tests.unit.operator.api_server import Resource
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import KEY, NAMESPACE, condition, failure, status, view

GONE = ("demo", "nowhere")


def ask(bench: Bench, name: str = "wire", **spec: Any) -> None:
    """Make a resource that cuts worker-0 from worker-1 for a minute."""
    wire = {"hanas": "demo", "source": "worker-0", "target": "worker-1", **spec}
    bench.server.put(kinds.LINK_FAILURE, NAMESPACE, name, spec=wire)


def told(bench: Bench, name: str = "wire") -> Resource:
    found: Resource = bench.server.take(kinds.LINK_FAILURE, NAMESPACE, name)["status"]
    return found


def lost(bench: Bench, name: str = "wire") -> tuple[str, str]:
    (found,) = told(bench, name)["conditions"]
    assert found["type"] == "LinkLost"
    return found["status"], found["reason"]


def kept_out(bench: Bench, member: str) -> list[str]:
    """The pods whose keep-alives a worker does not admit."""
    policy = bench.server.take(kinds.POLICY, NAMESPACE, f"demo-{member}")["spec"]
    expressions = policy["ingress"][0]["from"][0]["podSelector"].get("matchExpressions", [{"values": []}])
    return list(expressions[0]["values"])


async def see(bench: Bench, seen: ClusterView) -> None:
    await bench.overseer.show(seen)
    await bench.hear()
    await bench.reconcile()


def later(bench: Bench, name: str = "wire", seconds: float = 61.0) -> None:
    """Let the failure have begun so long ago."""
    past = durations.written(datetime.now(UTC) - timedelta(seconds=seconds))
    bench.server.change(kinds.LINK_FAILURE, NAMESPACE, name, {"status": {"startedAt": past}})


async def test_it_cuts_is_seen_and_heals_by_itself(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    ask(bench)
    again = await bench.reconcile()
    assert again == 5.0, "a link is cut: look again soon"
    assert (kept_out(bench, "worker-0"), kept_out(bench, "worker-1")) == (["demo-worker-1"], ["demo-worker-0"])
    assert told(bench)["cut"] == "worker-0 <-> worker-1 (link)"
    assert (told(bench)["state"], told(bench)["observed"], lost(bench)) == (
        *("Active", "Healthy"),
        ("False", "Healthy"),
    )
    await see(bench, view(failed=("worker-1",)))
    assert (told(bench)["observed"], lost(bench)) == ("LinkFailed", ("True", "LinkFailed"))
    later(bench)
    await bench.reconcile()
    assert (told(bench)["state"], lost(bench)) == ("Healed", ("True", "LinkFailed")), "no keep-alive has come yet"
    assert (kept_out(bench, "worker-0"), kept_out(bench, "worker-1")) == ([], [])
    await see(bench, view())
    assert (told(bench)["observed"], lost(bench)) == ("LinkFailed", ("False", "Restored"))
    events = [(event["reason"], event["regarding"]["kind"]) for event in bench.server.all(kinds.EVENT)]
    assert events == [
        *(("LinkCut", "HANasLinkFailure"), ("LinkFailed", "HANas")),
        *(("LinkHealed", "HANasLinkFailure"), ("LinkRestored", "HANas")),
    ]


async def test_nothing_is_written_when_nothing_changed(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    ask(bench)
    await bench.reconcile()
    before = len(bench.server.writes())
    await bench.reconcile()
    assert bench.server.writes()[before:] == []


async def test_both_sources_cut_together(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start(linkFailures=[failure("wire", "worker-2", "worker-1", direction="to")])
    ask(bench)
    await bench.reconcile()
    assert kept_out(bench, "worker-1") == ["demo-worker-0", "demo-worker-2"]
    assert [one["name"] for one in status(bench.server)["linkFailures"]] == ["wire"], "each source has its own record"
    bench.want()
    await bench.reconcile()
    assert kept_out(bench, "worker-1") == ["demo-worker-0"]
    bench.server.remove(kinds.LINK_FAILURE, NAMESPACE, "wire")
    await bench.reconcile()
    assert kept_out(bench, "worker-1") == []


async def test_policies_without_effect_are_noticed(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    ask(bench)
    await bench.reconcile()
    later(bench, seconds=11.0)
    await bench.reconcile()
    assert condition(bench.server, "PolicyEnforced")["reason"] == "NotEnforced"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"target": "worker-7"}, "there is no worker-7: the workers are worker-0 to worker-2"),
        ({"source": "worker-9"}, "there is no worker-9: the workers are worker-0 to worker-2"),
        ({"hanas": "nowhere"}, "there is no HANas nowhere in this namespace"),
        ({"duration": "soon"}, "the spec cannot be used: Expected `str` matching regex"),
    ],
)
async def test_what_it_cannot_cut_is_told(bench: Bench, spec: dict[str, str], message: str) -> None:
    await bench.overseer.show(view())
    await bench.start()
    ask(bench, **spec)
    for name in GONE:
        await bench.reconciler((NAMESPACE, name))
    assert (told(bench)["state"], lost(bench)) == ("Pending", ("Unknown", "NotCut"))
    assert told(bench)["message"].startswith(message)
    assert kept_out(bench, "worker-0") == []
    assert condition(bench.server, "Ready")["status"] == "True"


async def test_it_begins_when_what_it_names_is_there(bench: Bench) -> None:
    ask(bench)
    assert await bench.reconcile() == 60.0, "it looks again whether there is such a HANas"
    assert told(bench)["message"] == "there is no HANas demo in this namespace"
    await bench.overseer.show(view())
    await bench.start()
    assert (told(bench)["state"], told(bench)["message"]) == ("Active", "")
    bench.server.remove(kinds.HANAS, *KEY)
    await bench.reconcile()
    assert (told(bench)["state"], lost(bench)) == ("Healed", ("False", "Healthy"))
    bench.server.remove(kinds.LINK_FAILURE, NAMESPACE, "wire")
    assert await bench.reconcile() is None


async def test_another_one_of_the_same_name_begins_anew(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    ask(bench)
    await bench.reconcile()
    later(bench)
    await bench.reconcile()
    assert told(bench)["state"] == "Healed"
    bench.server.remove(kinds.LINK_FAILURE, NAMESPACE, "wire")
    ask(bench)
    await bench.reconcile()
    assert told(bench)["state"] == "Active"


async def test_it_goes_on_when_its_worker_is_scaled_away_and_comes_back(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    ask(bench, target="worker-2")
    await bench.reconcile()
    began = told(bench)["startedAt"]
    bench.want(workers=2)
    await bench.reconcile()
    bench.want(workers=3)
    await bench.reconcile()
    assert (told(bench)["state"], told(bench)["startedAt"]) == ("Active", began)
    assert kept_out(bench, "worker-2") == ["demo-worker-0"]


async def test_while_the_hanas_is_paused_none_begins_and_those_that_did_end(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    ask(bench)
    await bench.reconcile()
    bench.server.change(kinds.HANAS, *KEY, {"metadata": {"annotations": {names.PAUSED: "true"}}})
    ask(bench, "new", target="worker-2")
    again = await bench.reconcile()
    assert (told(bench)["state"], told(bench, "new")["state"]) == ("Active", "Pending")
    assert told(bench, "new")["message"] == "waits: the HANas is paused"
    assert again is not None
    assert again <= 60
    past = durations.written(datetime.now(UTC) - timedelta(seconds=1))
    bench.server.change(kinds.LINK_FAILURE, NAMESPACE, "wire", {"status": {"healsAt": past}})
    await bench.reconcile()
    assert (told(bench)["state"], kept_out(bench, "worker-1")) == ("Healed", [])
    bench.server.change(kinds.HANAS, *KEY, {"metadata": {"annotations": {names.PAUSED: None}}})
    later(bench)
    await bench.reconcile()
    assert (told(bench)["state"], told(bench, "new")["state"]) == ("Healed", "Active")


@pytest.mark.parametrize("code", [403, 404])
async def test_an_operator_that_may_not_read_them_does_everything_else(bench: Bench, code: int) -> None:
    await bench.overseer.show(view())
    bench.server.refusals["list", "hanaslinkfailures"] = (code, "no")
    await bench.start()
    assert condition(bench.server, "Ready")["status"] == condition(bench.server, "Updated")["status"] == "True"
    assert "HANasLinkFailure resources cannot be read" in condition(bench.server, "Degraded")["message"]


async def test_an_api_server_that_fails_heals_nothing(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    ask(bench)
    await bench.reconcile()
    bench.server.refusals["list", "hanaslinkfailures"] = (500, "not now")
    with pytest.raises(ApiError):
        await bench.reconcile()
    assert kept_out(bench, "worker-1") == ["demo-worker-0"]


async def test_a_status_that_is_refused_stops_nothing(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    ask(bench)
    bench.server.refusals["patch", "hanaslinkfailures/status"] = (403, "no")
    await bench.reconcile()
    assert kept_out(bench, "worker-1") == ["demo-worker-0"]
    assert condition(bench.server, "Ready")["status"] == "True"


@pytest.mark.parametrize(
    ("spec", "seen", "expected"),
    [
        ({}, view("worker-2"), ("Unknown", "NotWatched")),
        ({"planes": ["client"]}, view(), ("Unknown", "NotWatched")),
        ({}, view(None), ("Unknown", "NotObserved")),
        ({"target": "*"}, view(failed=("worker-1", "worker-2")), ("True", "LinkFailed")),
    ],
)
async def test_what_the_workers_see(
    bench: Bench, spec: dict[str, Any], seen: ClusterView, expected: tuple[str, str]
) -> None:
    await bench.overseer.show(seen)
    await bench.start()
    ask(bench, **spec)
    await bench.reconcile()
    assert lost(bench) == expected
