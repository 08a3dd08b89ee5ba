"""Clients in the cluster that write and read all the time, and the judgement on what they were told."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from hanas_lab import history
from hanas_lab.audit import Judgement, LastValue, judge
from hanas_lab.history import Action, Operation, OperationOutcome
from tests.e2e.clients_in_pod import LAST
from tests.e2e.cluster import Cluster
from tests.e2e.hanas import HANas
from tests.e2e.kubectl import Kubectl, Resource
from tests.e2e.waiting import eventually

_SCRIPT = Path(__file__).with_name("clients_in_pod.py")
_HISTORY = Path(history.__file__)
CLIENTS, KEYS = 6, 12
IDLE = "import signal; signal.pause()"
"""A script that does nothing until it is ended."""
RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
"""What the Pod Security standard `restricted` asks of a container."""


def container(cluster: Cluster, name: str, script: str, **more: Any) -> Resource:
    """A container of the client's image that runs a script of Python; `more`: other fields."""
    image = {"image": cluster.image("client"), "imagePullPolicy": "IfNotPresent"}
    return {"name": name, **image, "command": ["python", "-c", script], "securityContext": RESTRICTED, **more}


@dataclass
class Clients:
    """A pod full of clients of one HANas."""

    kubectl: Kubectl
    pod: str

    def history(self) -> list[Operation]:
        """What they did so far, in the order of the answers."""
        # The last line may not be complete yet.
        lines = self.kubectl("logs", self.pod).split("\n")[:-1]
        return [msgspec.json.decode(line, type=Operation) for line in lines]

    def acknowledged(self, *, after: float = 0.0) -> list[Operation]:
        """The writes that were begun after a time (seconds, Unix) and acknowledged."""
        return [
            operation
            for operation in self.history()
            if operation.kind is Action.PUT and operation.outcome is OperationOutcome.OK and operation.start > after
        ]

    def until_acknowledged(self, count: int = 20) -> None:
        """Wait until so many more writes, begun after now by their clock, have been acknowledged."""
        told = eventually("the clients tell what they do", self.history, 60.0)
        known = max(operation.end or 0.0 for operation in told)
        eventually("clients go on", lambda: len(self.acknowledged(after=known)) >= count, 90.0)

    def finish(self) -> Judgement:
        """Stop them and judge everything they were told."""
        self.kubectl("exec", self.pod, "--", "touch", "/tmp/stop")

        def over() -> bool:
            phase = str((self.kubectl.get("pod", self.pod) or {}).get("status", {}).get("phase"))
            assert phase != "Failed", self.kubectl("logs", self.pod, "--tail", "20")
            return phase == "Succeeded"

        eventually("the clients end", over, 90.0)
        told = self.history()
        last = [operation for operation in told if operation.client == LAST]
        assert len(last) == KEYS, "every key was read at the end"
        end = {
            operation.key: LastValue(operation.value, operation.version)
            for operation in last
            if operation.value is not None
        }
        return judge((operation for operation in told if operation.client != LAST), end)


def longest_silence(operations: list[Operation]) -> float:
    """The longest time between two acknowledgements, seconds."""
    ends = sorted(operation.end for operation in operations if operation.end is not None)
    return max((later - earlier for earlier, later in pairwise(ends)), default=0.0)


TLS_FILES = [
    {"name": "HANAS_TLS_CA", "value": "/tls/ca.crt"},
    {"name": "HANAS_TLS_CERT", "value": "/tls/tls.crt"},
    {"name": "HANAS_TLS_KEY", "value": "/tls/tls.key"},
]


def show_certificate(hanas: HANas, pod: Resource) -> None:
    """Give the first container of a pod the certificate for clients, at the places of `TLS_FILES`."""
    mounts = pod["containers"][0].setdefault("volumeMounts", [])
    mounts.append({"name": "tls", "mountPath": "/tls"})
    pod.setdefault("volumes", []).append({"name": "tls", "secret": {"secretName": f"{hanas.name}-client-tls"}})


@contextmanager
def clients(
    cluster: Cluster, hanas: HANas, *, through_main: bool = False, any_worker: bool = False, node: str | None = None
) -> Iterator[Clients]:
    """Run clients of a HANas, until everything that they were told is judged to be in order. Over TLS they show the
    certificate that the operator made for clients.

    They ask the overseer where the main is; or they know nothing but the Service of the main; or but that of all
    workers, and stay where it leads to. `node`: where they run.
    """
    name = f"{hanas.name}-clients"
    scheme = hanas.scheme
    overseers = "" if through_main or any_worker else f"{scheme}://{hanas.name}-overseer:4000"
    servers = f"{scheme}://{hanas.name}-main:3001" if through_main else f"{scheme}://{hanas.name}:3001"
    arguments = [overseers, servers, str(CLIENTS), str(KEYS), "any" if any_worker else "main"]
    kubectl = hanas.kubectl
    script: Resource = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"clients.py": _SCRIPT.read_text(encoding="utf-8"), "history.py": _HISTORY.read_text(encoding="utf-8")},
    }
    container: Resource = {
        "name": "clients",
        "image": cluster.image("client"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "/script/clients.py", *arguments],
        # The image of the client does not hold the lab; the script brings the module that it needs.
        "env": [{"name": "PYTHONPATH", "value": "/opt/hanas:/script"}, *(TLS_FILES if scheme == "https" else [])],
        "securityContext": RESTRICTED,
        "volumeMounts": [{"name": "script", "mountPath": "/script"}, {"name": "tmp", "mountPath": "/tmp"}],
    }
    files = [{"key": "clients.py", "path": "clients.py"}, {"key": "history.py", "path": "hanas_lab/history.py"}]
    pod: Resource = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [
                {"name": "script", "configMap": {"name": name, "items": files}},
                {"name": "tmp", "emptyDir": {}},
            ],
            **({} if node is None else {"nodeName": node}),
        },
    }
    if scheme == "https":
        show_certificate(hanas, pod["spec"])
    kubectl.apply(script, pod)
    running = Clients(kubectl, name)
    running.until_acknowledged()
    yield running
    verdict = running.finish()
    print(verdict)
    assert verdict.ok, str(verdict)
    kubectl("delete", "pod,configmap", name, "--wait=true")
