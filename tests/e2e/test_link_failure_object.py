"""A link cut by somebody who may not change the HANas."""

from typing import Any

import pytest

from tests.e2e.clients import clients
from tests.e2e.cluster import Cluster
from tests.e2e.commands import CommandFailed
from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas
from tests.e2e.kubectl import Kubectl, Resource

ACCOUNT = "tester"


def _tester(kubectl: Kubectl) -> str:
    """Let an account of the namespace cut links; return its name as a user."""
    meta, group = {"name": ACCOUNT}, "rbac.authorization.k8s.io"
    role = {"apiGroup": group, "kind": "ClusterRole", "name": "hanas-operator-link-failures"}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": kubectl.namespace}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": role,
            "subjects": [subject],
        },
    )
    return f"system:serviceaccount:{kubectl.namespace}:{ACCOUNT}"


def _wire(**spec: Any) -> Resource:
    return {
        "apiVersion": "hanas.dev/v1alpha1",
        "kind": "HANasLinkFailure",
        "metadata": {"name": "wire"},
        "spec": {"hanas": "demo", **spec},
    }


def _status(demo: HANas) -> dict[str, Any]:
    status: dict[str, Any] = (demo.kubectl.get("hanaslinkfailure", "wire") or {}).get("status", {})
    conditions = {each["type"]: (each["status"], each["reason"]) for each in status.get("conditions", [])}
    return {**status, **conditions}


def test_who_may_not_change_the_hanas_cuts_its_link_for_a_while(cluster: Cluster, hanas: Made) -> None:
    demo = hanas()
    main, epoch = demo.status["main"], demo.status["epoch"]
    backup = min({"worker-0", "worker-1", "worker-2"} - {main})
    tester = demo.kubectl.acting_as(_tester(demo.kubectl))
    with pytest.raises(CommandFailed, match="cannot patch resource"):
        tester.patch("hanas", "demo", {"spec": {"linkFailures": []}})
    with pytest.raises(CommandFailed, match="must be at most 24h"):
        tester.apply(_wire(source=main, target=backup, duration="25h"))
    with clients(cluster, demo) as running:
        tester.apply(_wire(source=main, target=backup, duration="20s"))
        demo.until("the workers see it", lambda: _status(demo).get("LinkLost") == ("True", "LinkFailed"), 60.0)
        assert _status(demo)["cut"] == f"{main} <-> {backup} (link)"
        with pytest.raises(CommandFailed, match="cannot be changed"):
            tester.apply(_wire(source=backup, target=main))
        demo.until("it heals by itself", lambda: _status(demo)["LinkLost"] == ("False", "Restored"), 90.0)
        assert (_status(demo)["state"], _status(demo)["observed"]) == ("Healed", "LinkFailed")
        demo.until_ready()
        running.until_acknowledged()
    assert (demo.status["main"], demo.status["epoch"]) == (main, epoch), "nobody took over"
    tester("delete", "hanaslinkfailure", "wire")
    tester.apply(_wire(hanas="nowhere", source="worker-0", target="worker-1"))
    demo.until("it says what is missing", lambda: "no HANas nowhere" in _status(demo).get("message", ""))
