"""Which pod gets the label of the main, when several operators give it, each with news of another age."""

import copy
import itertools
import types
from collections.abc import Awaitable, Generator
from typing import Any

import pytest

from hanas_operator import main_label, names
from hanas_operator.api import Api, ApiError, Resource
from hanas_operator.view import ClusterView
from tests.unit.operator.making import KEY, pod, view


def worker(ordinal: int, role: str | None = None, epoch: int | None = None) -> Resource:
    made = pod(f"demo-worker-{ordinal}", names.WORKER)
    made["metadata"] |= {"resourceVersion": "1", "annotations": {} if epoch is None else {names.EPOCH: str(epoch)}}
    made["metadata"]["labels"] |= {} if role is None else {names.ROLE: role}
    return made


def changed(pods: list[Resource], seen: ClusterView | None) -> list[tuple[str, str, int]]:
    return [(one["metadata"]["name"][-1], role, epoch) for one, role, epoch in main_label.changes(pods, seen, "demo")]


MAIN_OF_2 = [worker(0, "main", 2), worker(1, "backup", 2), worker(2, "backup", 2)]


@pytest.mark.parametrize(
    ("pods", "seen", "changes"),
    [
        (MAIN_OF_2, None, []),
        (MAIN_OF_2, view("worker-1", epoch=3, state="elect"), []),
        (MAIN_OF_2, view(epoch=2), []),
        (MAIN_OF_2, view(epoch=3), [("0", "main", 3)]),  # it compacted
        (MAIN_OF_2, view("worker-1", epoch=1), []),  # old news
        (MAIN_OF_2, view("worker-2", epoch=3), [("2", "main", 3), ("0", "backup", 3), ("1", "backup", 3)]),
        # a pod that was made anew
        ([*MAIN_OF_2[:2], worker(2)], view(epoch=2), [("2", "backup", 2)]),
        # an operator died between two writes, or one with old news wrote last
        ([worker(0, "main", 2), worker(1, "main", 3)], view("worker-1", epoch=3), [("0", "backup", 3)]),
        ([worker(0, "main", 2), worker(1, "main", 3)], view(epoch=2), [("0", "backup", 3)]),
        # labelled by an operator that noted no epochs, or by hand
        ([worker(0, "main"), worker(1, "backup")], view(epoch=7), [("0", "main", 7)]),
        ([worker(0, "main"), worker(1)], view("worker-1", epoch=7), [("1", "main", 7), ("0", "backup", 7)]),
        # the pod of the main is gone
        (MAIN_OF_2[:2], view("worker-2", epoch=3), [("0", "backup", 3), ("1", "backup", 3)]),
    ],
)
def test_what_changes(pods: list[Resource], seen: ClusterView | None, changes: list[tuple[str, str, int]]) -> None:
    assert changed(pods, seen) == changes


@types.coroutine
def turn() -> Generator[None, None, None]:
    """Let another one run."""
    yield


class SharedPods(Api):
    """The pods of one cluster. Each call takes effect when its caller has its turn."""

    def __init__(self, *pods: Resource) -> None:
        self.pods = {one["metadata"]["name"]: copy.deepcopy(one) for one in pods}
        self.refused: set[str] = set()
        self.busy: set[str] = set()

    async def list(self, *_: Any, **__: Any) -> list[Resource]:
        await turn()
        return copy.deepcopy(list(self.pods.values()))

    async def merge(self, kind: Any, namespace: str, name: str, patch: Resource) -> Resource:
        await turn()
        meta = self.pods[name]["metadata"]
        if name in self.busy:
            self.busy.remove(name)
            meta["resourceVersion"] += "0"
        if name in self.refused:
            raise ApiError(403, "Forbidden", "a webhook denies it")
        if patch["metadata"].get("resourceVersion", meta["resourceVersion"]) != meta["resourceVersion"]:
            raise ApiError(409, "Conflict", "it has changed")
        assert int(patch["metadata"]["annotations"][names.EPOCH]) >= main_label.epoch(self.pods[name])
        meta["labels"] |= patch["metadata"]["labels"]
        meta["annotations"] |= patch["metadata"]["annotations"]
        meta["resourceVersion"] += "0"
        return copy.deepcopy(self.pods[name])


def mains(shared: SharedPods) -> list[str]:
    return [name for name, one in shared.pods.items() if main_label.role(one) == names.MAIN]


async def label(shared: SharedPods, seen: ClusterView) -> list[str]:
    pods = await main_label.read(shared, KEY)
    return [obstacle.message for obstacle in (await main_label.keep(shared, KEY, pods, seen))[1]]


def step(running: Awaitable[Any]) -> bool:
    """Let one operator make its next call; return whether it is done."""
    try:
        running.send(None)  # type: ignore[attr-defined]
    except StopIteration:
        return True
    return False


@pytest.mark.parametrize("before", [(None, None, None), ("main", "backup", "backup"), ("backup", "main", "backup")])
def test_an_older_epoch_never_wins_however_two_operators_take_turns(before: tuple[str | None, ...]) -> None:
    epoch = None if before[0] is None else 1
    for schedule in itertools.product((0, 1), repeat=10):
        shared = SharedPods(*(worker(number, role, epoch) for number, role in enumerate(before)))
        operators = [label(shared, view("worker-0", epoch=5)), label(shared, view("worker-1", epoch=6))]
        done = [False, False]
        for number in (*schedule, *[0] * 20, *[1] * 20):
            if not done[number]:
                done[number] = step(operators[number])
            assert len(mains(shared)) <= 2, schedule
        assert done == [True, True], schedule
        assert mains(shared) == ["demo-worker-1"], schedule


async def test_a_pod_that_changed_meanwhile_is_read_again() -> None:
    shared = SharedPods(*MAIN_OF_2)
    shared.busy = {"demo-worker-1", "demo-worker-0"}
    assert await label(shared, view("worker-1", epoch=3)) == []
    assert mains(shared) == ["demo-worker-1"]


async def test_the_last_main_keeps_the_label_when_the_new_one_cannot_get_it() -> None:
    shared = SharedPods(*MAIN_OF_2)
    shared.refused = {"demo-worker-1"}
    (told,) = await label(shared, view("worker-1", epoch=3))
    assert "demo-worker-1 cannot be labelled hanas.dev/role=main: a webhook denies it" in told
    assert mains(shared) == ["demo-worker-0"]


async def test_a_refused_backup_keeps_no_other_pod_from_its_label() -> None:
    shared = SharedPods(*MAIN_OF_2)
    shared.refused = {"demo-worker-0"}
    (told,) = await label(shared, view("worker-1", epoch=3))
    assert "demo-worker-0 cannot be labelled hanas.dev/role=backup" in told
    assert main_label.epoch(shared.pods["demo-worker-2"]) == 3
    assert not main_label.leads_to(shared.pods.values(), "worker-1", "demo")


async def test_pods_that_change_all_the_time_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main_label, "MOST_TRIES", 1)
    shared = SharedPods(*MAIN_OF_2)
    shared.busy = {"demo-worker-1"}
    assert await label(shared, view("worker-1", epoch=3)) == ["the pods change faster than their role can be labelled"]
