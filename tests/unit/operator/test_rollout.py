"""A new operator rolls no pods: they follow it when the spec changes, or by an opt-in, one HANas at a time."""

from typing import Any

import pytest

from hanas_operator import kinds, names
from hanas_operator.objects import pods as templates
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import IMAGE, KEY, NAMESPACE, condition, settle, status, view

WORKLOADS = ((kinds.STATEFUL_SET, "demo-worker"), (kinds.DEPLOYMENT, "demo-overseer"))
OTHER = (NAMESPACE, "other")


def pods(bench: Bench) -> list[Any]:
    return [bench.server.take(kind, NAMESPACE, name)["spec"]["template"] for kind, name in WORKLOADS]


def images(bench: Bench) -> set[str]:
    return {template["spec"]["containers"][0]["image"] for template in pods(bench)}


def new_template(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this version of the operator make other templates than the one before."""
    monkeypatch.setattr(templates, "GRACE_SECONDS", 77)


@pytest.mark.parametrize("annotated", [True, False])
async def test_a_new_operator_changes_no_pods(bench: Bench, monkeypatch: pytest.MonkeyPatch, annotated: bool) -> None:
    await bench.overseer.show(view())
    await bench.start()
    if not annotated:  # as the first version made them
        for kind, name in WORKLOADS:
            of_old = {"annotations": {names.INPUTS: None, names.RENDERED_BY: None}}
            bench.server.change(kind, NAMESPACE, name, {"metadata": of_old})
        bench.server.change(kinds.HANAS, *KEY, {"status": {"image": None}})
    before = pods(bench)
    bench.upgrade("hanas:new", "9.9", monkeypatch)
    new_template(monkeypatch)
    count = len(bench.server.writes())
    for _ in range(2):
        await bench.reconcile()
        assert pods(bench) == before
    written = {call.resource for call in bench.server.writes()[count:]}
    assert written == ({"hanases/status"} if annotated else {"hanases/status", "statefulsets", "deployments"})
    assert status(bench.server)["image"] == IMAGE
    assert condition(bench.server, "Updated")["reason"] == "UpdateHeld"
    count = len(bench.server.writes())
    await bench.reconcile()
    assert bench.server.writes()[count:] == []
    # What pods do not depend on changes nothing either.
    bench.want(workers=4, overseer={"replicas": 3})
    await bench.reconcile()
    assert pods(bench) == before
    assert bench.server.take(kinds.STATEFUL_SET, NAMESPACE, "demo-worker")["spec"]["replicas"] == 4


@pytest.mark.parametrize(("change", "image"), [({"image": "hanas:new"}, "hanas:new"), ({"logLevel": "DEBUG"}, IMAGE)])
async def test_a_change_of_the_spec_takes_the_new_template(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], image: str
) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.upgrade("hanas:new", "9.9", monkeypatch)
    new_template(monkeypatch)
    await bench.reconcile()
    bench.want(**change)
    await bench.reconcile()
    assert images(bench) == {image}
    assert [template["spec"]["terminationGracePeriodSeconds"] for template in pods(bench)] == [77, 77]


async def test_an_image_that_the_spec_names_no_more_stays_in_use(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start(image="hanas:mine")
    bench.want()
    await bench.reconcile()
    assert images(bench) == {"hanas:mine"}
    assert condition(bench.server, "Updated")["reason"] == "UpdateHeld"


async def test_a_change_of_the_image_by_others_is_put_right(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.server.take(kinds.STATEFUL_SET, NAMESPACE, "demo-worker")["spec"]["template"]["spec"]["containers"][0][
        "image"
    ] = "hanas:theirs"
    await bench.reconcile()
    assert images(bench) == {IMAGE}


async def test_those_that_want_it_follow_one_after_the_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.overseer.show(view())
    await bench.start(updatePolicy="Automatic")
    bench.server.put(kinds.HANAS, *OTHER, spec={"updatePolicy": "Automatic"})
    await bench.reconciler(OTHER)
    settle(bench.server)
    await bench.reconciler(OTHER)
    bench.upgrade("hanas:new", "9.9", monkeypatch)
    await bench.reconcile()
    assert images(bench) == {"hanas:new"}

    def other() -> Any:
        return bench.server.take(kinds.STATEFUL_SET, NAMESPACE, "other-worker")["spec"]["template"]["spec"]

    assert await bench.reconciler(OTHER) == 5.0
    assert other()["containers"][0]["image"] == IMAGE
    told = bench.server.take(kinds.HANAS, *OTHER)["status"]["conditions"]
    assert next(one for one in told if one["type"] == "Updated")["reason"] == "AwaitsTurn"
    # An operator that has just started sees that one is being updated.
    bench.upgrade("hanas:new", "9.9", monkeypatch)
    await bench.reconciler(OTHER)
    assert other()["containers"][0]["image"] == IMAGE
    settle(bench.server)
    await bench.reconcile()
    assert condition(bench.server, "Updated")["reason"] == "AllUpdated"
    await bench.reconciler(OTHER)
    assert other()["containers"][0]["image"] == "hanas:new"
    bench.followers.forget(OTHER)


async def test_an_update_whose_operator_was_lost_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.overseer.show(view())
    await bench.start(updatePolicy="Automatic")
    before = status(bench.server)
    bench.upgrade("hanas:new", "9.9", monkeypatch)
    await bench.reconcile()
    # The pods were changed, and the status was not written any more; meanwhile another one took its turn.
    bench.server.change(kinds.HANAS, *KEY, {"status": before})
    bench.upgrade("hanas:new", "9.9", monkeypatch)
    assert await bench.reconciler._rollouts._take_turn(OTHER)
    await bench.reconcile()
    assert images(bench) == {"hanas:new"}
    assert status(bench.server)["image"] == "hanas:new"


@pytest.mark.parametrize("end", ["deleted", "manual", "paused"])
async def test_one_that_does_not_end_its_turn_can_be_taken_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    await bench.overseer.show(view())
    await bench.start(updatePolicy="Automatic")
    bench.upgrade("hanas:broken", "9.9", monkeypatch)
    await bench.reconcile()
    rollouts = bench.reconciler._rollouts
    assert not await rollouts._take_turn(OTHER)
    if end == "deleted":
        bench.server.remove(kinds.HANAS, *KEY)
    elif end == "manual":
        bench.want(updatePolicy="Manual", image=IMAGE)
    else:
        bench.server.change(kinds.HANAS, *KEY, {"metadata": {"annotations": {names.PAUSED: "true"}}})
    await bench.reconcile()
    settle(bench.server)
    await bench.reconcile()
    assert await rollouts._take_turn(OTHER)
