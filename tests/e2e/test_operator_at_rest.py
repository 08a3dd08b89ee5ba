"""An operator that has nothing to do does nothing."""

import re
import time

import pytest

from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas
from tests.e2e.operators import Operator
from tests.e2e.waiting import eventually, holds

SECONDS = 60.0
_STILL_LOOKS = 20
_KINDS = "hanas,statefulsets,deployments,services,configmaps,secrets,networkpolicies,poddisruptionbudgets,pvc,events"


def _cpu(operator: Operator) -> float:
    """The seconds that the busiest of its pods has used, the one that reconciles."""
    return max(_cpu_of(operator, pod["metadata"]["name"]) for pod in operator.pods())


def _cpu_of(operator: Operator, pod: str) -> float:
    namespace = operator.kubectl.namespace
    told = operator.kubectl.raw(f"/api/v1/namespaces/{namespace}/pods/{pod}:8080/proxy/metrics")
    found = re.search(r"^process_cpu_seconds_total (\S+)$", told, re.MULTILINE)
    assert found, told
    return float(found[1])


def _versions(demo: HANas) -> dict[str, str]:
    """The resourceVersion of everything that is the cluster's, and of its pods."""
    return {
        f"{each['kind']}/{each['metadata']['name']}": each["metadata"]["resourceVersion"]
        for each in demo.kubectl.list(f"{_KINDS},pods")
    }


def _settle(demo: HANas) -> None:
    """Wait until Kubernetes itself has written nothing more for a while: the states of its own controllers."""
    before: dict[str, str] = {}
    still = 0

    def settled() -> bool:
        nonlocal before, still
        now = _versions(demo)
        before, still = now, still + 1 if now == before else 0
        return still >= _STILL_LOOKS

    eventually("nothing is written any more", settled)


@pytest.mark.long
def test_no_writes_and_hardly_any_cpu(operator: Operator, hanas: Made) -> None:
    demo = hanas()
    _settle(demo)
    before, since, used = _versions(demo), time.monotonic(), _cpu(operator)
    holds("nothing is written", lambda: _versions(demo) == before, SECONDS)
    share = (_cpu(operator) - used) / (time.monotonic() - since)
    print(f"the operator used {share:.2%} of a core")
    assert share < 0.01
