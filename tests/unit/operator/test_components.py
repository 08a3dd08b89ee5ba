"""The secret of the components: it is never replaced by another one unasked, and changed in steps."""

import base64
from typing import Any

import pytest

from hanas_operator import kinds, names
from hanas_operator.components import Content, mark_of, next_step
from hanas_operator.objects import secret
from hanas_operator.status import SecretStage
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import IMAGE, KEY, NAMESPACE, condition, secret_of, settle, status, view

NAME = "demo-components"
WORKLOADS = ((kinds.STATEFUL_SET, "demo-worker"), (kinds.DEPLOYMENT, "demo-overseer"))


def lines(bench: Bench) -> list[str]:
    return secret_of(bench.server).split("\n")


def ask(bench: Bench, text: str) -> None:
    bench.server.change(kinds.HANAS, *KEY, {"metadata": {"annotations": {names.ROTATE: text}}})


def marks(bench: Bench) -> list[str | None]:
    templates = [bench.server.take(kind, NAMESPACE, name)["spec"]["template"] for kind, name in WORKLOADS]
    return [template["metadata"]["annotations"].get(names.ROTATION) for template in templates]


def events(bench: Bench) -> list[str]:
    return [event["reason"] for event in bench.server.all(kinds.EVENT)]


def another_operator(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one take over that remembers nothing."""
    bench.upgrade(IMAGE, "0.1.0", monkeypatch)


@pytest.mark.parametrize(
    ("present", "requested", "done", "after"),
    [
        (Content(("a",), ""), "", True, None),
        (Content(("a",), "1/use"), "1", True, None),
        (Content(("a", "b"), "1/accept"), "1", False, None),
        (Content(("a", "b"), "1/accept"), "2", True, Content(("b", "a"), "1/use")),
        (Content(("b", "a"), "1/use"), "1", False, None),
        (Content(("b", "a"), "1/use"), "1", True, Content(("b",), "1/use")),
        # Lines that a person has added are left to him.
        (Content(("a", "b"), ""), "1", True, None),
        (Content(("a", "b", "c"), "1/accept"), "1", True, None),
    ],
)
def test_the_steps(present: Content, requested: str, done: bool, after: Content | None) -> None:
    assert next_step(present, requested, done=done) == after


def test_a_rotation_begins_with_another_text_whatever_that_is() -> None:
    begun = next_step(Content(("a",), "2026/11/use"), "2026/12", done=False)
    assert begun is not None
    assert (begun.lines[0], len(begun.lines), begun.mark) == ("a", 2, "2026/12/accept")
    assert (begun.status.rotation, begun.status.stage) == ("2026/12", SecretStage.BOTH_ACCEPTED)
    assert mark_of(begun.status) == begun.mark
    assert len(begun.lines[1]) >= 43
    again = next_step(Content(("a",), ""), "x", done=False)
    assert again is not None
    assert again.lines[1] != begun.lines[1]


async def test_a_rotation_restarts_all_pods_twice_and_refuses_nobody(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    old = secret_of(bench.server)
    assert (marks(bench), status(bench.server)["secret"]["stage"]) == ([None, None], "Done")
    ask(bench, "november")
    told = []
    for _ in range(3):
        await bench.reconcile()
        told.append((status(bench.server)["secret"]["stage"], lines(bench), marks(bench)))
        await bench.reconcile()
        assert told[-1][1] == lines(bench), "no pod is made anew yet"
        settle(bench.server)
    [(_, [_, new], _), *_] = told
    assert told == [
        ("BothAccepted", [old, new], ["november/accept"] * 2),
        ("NewInUse", [new, old], ["november/use"] * 2),
        ("Done", [new], ["november/use"] * 2),
    ]
    count = len(bench.server.writes())
    await bench.reconcile()
    assert lines(bench) == [new]
    assert {call.resource for call in bench.server.writes()[count:]} <= {"hanases/status", "events"}
    assert status(bench.server)["secret"]["rotation"] == "november"
    assert "SecretChanged" not in events(bench)


async def test_every_cluster_has_another_secret(bench: Bench) -> None:
    other = (NAMESPACE, "other")
    bench.want()
    bench.server.put(kinds.HANAS, *other, spec={})
    await bench.reconcile()
    await bench.reconciler(other)
    bench.followers.forget(other)
    assert secret.lines(bench.server.take(kinds.SECRET, NAMESPACE, "other-components")) != tuple(lines(bench))


async def test_a_rotation_waits_for_every_pod(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    ask(bench, "1")
    await bench.reconcile()
    settle(bench.server)
    bench.server.change(kinds.DEPLOYMENT, NAMESPACE, "demo-overseer", {"status": {"replicas": 3}})  # an old one is left
    await bench.reconcile()
    assert status(bench.server)["secret"]["stage"] == "BothAccepted"
    settle(bench.server)
    await bench.reconcile()
    assert status(bench.server)["secret"]["stage"] == "NewInUse"


async def test_a_rotation_whose_operator_was_lost_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.overseer.show(view())
    await bench.start()
    before = status(bench.server)
    ask(bench, "1")
    await bench.reconcile()
    first = lines(bench)
    bench.server.change(kinds.HANAS, *KEY, {"status": before})  # it was not written any more
    another_operator(bench, monkeypatch)
    settle(bench.server)
    await bench.reconcile()
    assert lines(bench) == first[::-1]


async def test_a_secret_that_cannot_be_read_restarts_no_pod(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    ask(bench, "1")
    await bench.reconcile()
    bench.server.refusals["get", "secrets"] = (500, "etcd is away")
    await bench.reconcile()
    assert marks(bench) == ["1/accept"] * 2
    assert "the Secret of the components" in condition(bench.server, "Degraded")["message"]


async def test_a_secret_that_is_deleted_is_made_again_as_it_was(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    before = secret_of(bench.server)
    assert len(before) >= 43
    bench.server.remove(kinds.SECRET, NAMESPACE, NAME)
    await bench.reconcile()
    assert secret_of(bench.server) == before
    assert "SecretRestored" in events(bench)
    assert marks(bench) == [None, None]


@pytest.mark.parametrize("told", [True, False], ids=["in the status", "by the pods alone"])
async def test_a_lost_secret_that_nobody_remembers_is_not_replaced_unasked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    await bench.overseer.show(view())
    await bench.start()
    digest, pods = status(bench.server)["secret"]["hash"], marks(bench)
    bench.server.remove(kinds.SECRET, NAMESPACE, NAME)
    if not told:
        bench.server.change(kinds.HANAS, *KEY, {"status": {"secret": None}})
    another_operator(bench, monkeypatch)
    for _ in range(2):
        await bench.reconcile()
        assert bench.server.find(kinds.SECRET, NAMESPACE, NAME) is None
    degraded = condition(bench.server, "Degraded")
    assert (degraded["status"], degraded["reason"]) == ("True", "SecretMissing")
    assert "kubectl annotate hanas demo --overwrite hanas.dev/rotate-secret=" in degraded["message"]
    assert status(bench.server)["secret"]["hash"] == (digest if told else "")
    assert marks(bench) == pods
    assert condition(bench.server, "Ready")["status"] == "True", "pods that run go on"
    ask(bench, "lost")
    await bench.reconcile()
    assert status(bench.server)["secret"]["hash"] not in {"", digest}
    assert marks(bench) == ["lost/use"] * 2
    assert condition(bench.server, "Degraded")["reason"] != "SecretMissing"


async def test_a_copy_of_the_lost_secret_is_taken(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.overseer.show(view())
    await bench.start()
    copy = bench.server.take(kinds.SECRET, NAMESPACE, NAME)
    bench.server.remove(kinds.SECRET, NAMESPACE, NAME)
    another_operator(bench, monkeypatch)
    await bench.reconcile()
    labels = {"labels": copy["metadata"]["labels"]}
    bench.server.put(kinds.SECRET, NAMESPACE, NAME, metadata=labels, data=copy["data"])
    await bench.reconcile()
    assert condition(bench.server, "Degraded")["status"] == "False"
    assert "SecretChanged" not in events(bench)


async def test_a_change_by_hand_is_told(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    other = {"data": {secret.KEY: base64.b64encode(b"mine\n").decode()}}
    bench.server.change(kinds.SECRET, NAMESPACE, NAME, other)
    await bench.reconcile()
    assert secret_of(bench.server) == "mine\n"
    assert "SecretChanged" in events(bench)
    assert status(bench.server)["secret"]["hash"] == Content(("mine",), "").status.hash


async def test_an_immutable_one_of_an_earlier_version_is_not_rotated(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.server.change(kinds.SECRET, NAMESPACE, NAME, {"immutable": True})
    before = lines(bench)
    ask(bench, "1")
    await bench.reconcile()
    degraded = condition(bench.server, "Degraded")
    assert degraded["reason"] == "SecretImmutable"
    assert "kubectl delete secret demo-components" in degraded["message"]
    assert (lines(bench), marks(bench)) == (before, [None, None])
    bench.server.remove(kinds.SECRET, NAMESPACE, NAME)
    await bench.reconcile()
    assert (lines(bench), bench.server.take(kinds.SECRET, NAMESPACE, NAME).get("immutable")) == (before, None)
    await bench.reconcile()
    assert lines(bench)[0] == before[0]
    assert len(lines(bench)) == 2


async def test_the_overseer_is_asked_with_the_secret_that_all_accept(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    ask(bench, "1")
    await bench.reconcile()
    assert await bench.followers._token(KEY) == lines(bench)[0]


async def test_a_paused_one_is_not_rotated(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    before: Any = lines(bench)
    annotations = {names.PAUSED: "true", names.ROTATE: "1"}
    bench.server.change(kinds.HANAS, *KEY, {"metadata": {"annotations": annotations}})
    await bench.reconcile()
    assert lines(bench) == before
    assert status(bench.server)["secret"]["hash"]
