"""Events in one line each."""

import json

import pytest

from hanas_client.documents import Alert, Cluster, Link, Main, Member, Takeover
from hanas_client.errors import BadAnswer
from hanas_client.narration import Narrator, as_json_line, differences
from hanas_serving.events import Event

SERVING = Main(member="worker-1", advertise_url="http://w1", incarnation="i1", state="serving")
ELECT = Main(member="worker-2", advertise_url="http://w2", incarnation="i2", state="elect")


def cluster(main: Main | None = SERVING, epoch: int = 1, **worker: str | bool) -> Cluster:
    member = Member(**{"member": "worker-1", "incarnation": "i1", "alive": True, **worker})  # type: ignore[arg-type]
    return Cluster(epoch=epoch, main=main, members=[member])


@pytest.mark.parametrize(
    ("previous", "present", "told"),
    [
        (None, cluster(), ["epoch 1: main worker-1, 1 of 1 members alive"]),
        (None, cluster(main=None), ["epoch 1: main none, 1 of 1 members alive"]),
        (cluster(), cluster(), []),
        (cluster(), cluster(main=None), ["the cluster has no main"]),
        (cluster(main=None), cluster(main=None), []),
        (cluster(), cluster(main=ELECT, epoch=2), ["epoch 2: worker-2 does not serve yet (elect)"]),
        (cluster(main=None), cluster(), ["epoch 1: worker-1 serves"]),
        (cluster(), cluster(epoch=2), ["epoch 2: worker-1 serves"]),
        (cluster(), cluster(alive=False), ["worker-1 is no longer alive"]),
        (cluster(alive=False), cluster(), ["worker-1 is back"]),
        (cluster(), cluster(incarnation="i9"), ["worker-1 was restarted"]),
        (cluster(incarnation=""), cluster(), ["worker-1 joined the pool"]),
        (cluster(), cluster(role="left", alive=False), ["worker-1 was stopped in order"]),
        (cluster(), cluster(verdict="Unknown"), []),
        (cluster(), cluster(verdict="LinkFailed"), ["worker-1 says: LinkFailed"]),
        (cluster(), cluster(member="worker-2"), ["worker-2 joined the pool", "worker-1 left the pool"]),
    ],
)
def test_differences(previous: Cluster | None, present: Cluster, told: list[str]) -> None:
    assert [sentence.text for sentence in differences(previous, present)] == told


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ("unknown", "up", []),
        ("up", "failed", ["link a → b: failed"]),
        ("unknown", "failed", ["link a → b: failed"]),
        ("failed", "up", ["link a → b: up"]),
        ("failed", "failed", []),
    ],
)
def test_links(before: str, now: str, told: list[str]) -> None:
    documents = [Cluster(links=[Link(source="a", target="b", state=state)]) for state in (before, now)]
    assert [sentence.text for sentence in differences(*documents)] == told


def test_events_in_words() -> None:
    narrator = Narrator()
    told = [
        sentence.text
        for name, document in (
            ("takeover", {"epoch": 2, "member": "b", "why": "failure", "words": "no answer", "new": 1}),
            ("takeover", {"epoch": 3, "member": "c", "why": "hand-over"}),
            ("alert", {"severity": "urgent", "message": "it failed", "advice": "look"}),
            ("alert-cleared", {"id": "a1", "message": "it failed"}),
            ("cluster", {"epoch": 3}),
            ("cluster", {"epoch": 3}),
            ("something-new", {}),
        )
        for sentence in narrator.describe(Event(name, json.dumps(document)))
    ]
    assert told == [
        "epoch 2: b becomes the main: no answer",
        "epoch 3: c becomes the main: hand-over",
        "urgent: it failed → look",
        "cleared: it failed",
        "epoch 3: main none, 0 of 0 members alive",
    ]
    with pytest.raises(BadAnswer):
        narrator.describe(Event("cluster", "nonsense"))
    assert Takeover(epoch=1).evidence is None
    assert Alert().advice is None


def test_events_for_machines() -> None:
    assert json.loads(as_json_line(Event("alert", '{"id": "é"}', "7"))) == {
        "event": "alert", "id": "7", "data": {"id": "é"}
    }  # fmt: skip
    assert json.loads(as_json_line(Event("alert", "nonsense")))["data"] == "nonsense"
