"""Two installations of the operator whose namespaces overlap: one works, the other one refuses and says why."""

import pytest

from hanas_operator import kinds
from hanas_operator.api import Api, ApiError
from hanas_operator.metrics import OperatorMetrics
from hanas_operator.reconcile import Reconciler
from hanas_operator.territory import LEASE_SECONDS, NAME, RENEW_SECONDS, Territory
from tests.unit.operator.api_server import ApiServer, Resource
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import KEY, NAMESPACE, view

LEASE = (kinds.LEASE, NAMESPACE, NAME)


class Clock:
    """A clock that tests advance."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def holder(server: ApiServer) -> str:
    return str(server.take(*LEASE)["spec"]["holderIdentity"])


async def test_the_first_one_works_and_the_second_one_does_not(server: ApiServer, api: Api, clock: Clock) -> None:
    one, replica, other = (Territory(api, name, clock) for name in ("a/one", "a/one", "b/other"))
    assert await one.other(NAMESPACE) == ""
    assert await other.other(NAMESPACE) == "a/one"
    assert await replica.other(NAMESPACE) == "", "the replicas of one installation take turns"
    count = len(server.calls)
    assert await one.other(NAMESPACE) == ""
    assert len(server.calls) == count, "no call while it is fresh"
    for _ in range(5):
        clock.now += RENEW_SECONDS
        server.change(*LEASE, {"spec": {"renewTime": str(len(server.calls))}})
        assert await other.other(NAMESPACE) == "a/one"
        assert await one.other(NAMESPACE) == ""
    assert holder(server) == "a/one"


async def test_one_that_is_gone_is_followed_by_the_other_one(server: ApiServer, api: Api, clock: Clock) -> None:
    one, other = Territory(api, "a/one", clock), Territory(api, "b/other", clock)
    assert await one.other(NAMESPACE) == ""
    assert await other.other(NAMESPACE) == "a/one"
    clock.now += LEASE_SECONDS
    assert await other.other(NAMESPACE) == "a/one"
    clock.now += 1
    assert await other.other(NAMESPACE) == ""
    assert holder(server) == "b/other"
    assert await one.other(NAMESPACE) == "b/other", "it was away, and comes back"


@pytest.mark.parametrize("verb", ["create", "patch"])
async def test_of_two_that_try_at_once_one_fails(
    server: ApiServer, api: Api, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if verb == "patch":
        server.put(*LEASE, spec={"holderIdentity": None})
    original = api.create if verb == "create" else api.merge

    async def late(*arguments: object) -> Resource:
        server.put(*LEASE, spec={"holderIdentity": "a/one", "renewTime": "now"})
        return await original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(api, "create" if verb == "create" else "merge", late)
    assert await Territory(api, "b/other").other(NAMESPACE) == "a/one"
    assert holder(server) == "a/one"


async def test_without_the_right_it_works_as_before(server: ApiServer, api: Api) -> None:
    server.refusals["get", "leases"] = (403, "leases is forbidden")
    assert await Territory(api, "a/one").other(NAMESPACE) == ""
    server.refusals["get", "leases"] = (500, "etcd is slow")
    with pytest.raises(ApiError, match="etcd is slow"):
        await Territory(api, "a/one").other(NAMESPACE)


async def test_a_refused_operator_changes_nothing_and_says_so(bench: Bench, api: Api) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.server.put(*LEASE, spec={"holderIdentity": "a/one", "renewTime": "now"})
    mine = Territory(api, "b/other")
    refused = Reconciler(api, bench.followers, OperatorMetrics(), "hanas:other", territory=mine)
    bench.want(workers=9, updatePolicy="Automatic")
    count = len(bench.server.writes())
    for _ in range(2):
        assert await refused(KEY) == 5.0
    assert {call.resource for call in bench.server.writes()[count:]} == {"events"}
    (event,) = [each for each in bench.server.all(kinds.EVENT) if each["reason"] == "AnotherOperator"]
    assert "the operator a/one works in the namespace shop" in event["note"]
    assert "operator.watchNamespaces" in event["note"]
    await bench.reconcile()
    assert bench.server.take(kinds.STATEFUL_SET, NAMESPACE, "demo-worker")["spec"]["replicas"] == 9
