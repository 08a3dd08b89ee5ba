"""Hands on every node that reach the processes of pods: signals that nobody inside a container could send."""

from dataclasses import dataclass

from tests.e2e.clients import IDLE, container
from tests.e2e.cluster import Cluster
from tests.e2e.kubectl import Kubectl, Resource
from tests.e2e.waiting import eventually

NAMESPACE = "hanas-e2e-hands"
_FIND = """
import pathlib, sys
found = [
    int(path.parent.name)
    for path in pathlib.Path("/proc").glob("[0-9]*/cgroup")
    if sys.argv[1] in path.read_text(errors="replace")
]
assert found, "the container has no process"
"""
_SEND = """
import os
for process in found:
    os.kill(process, int(sys.argv[2]))
"""
# A mount does not concern what is open already: writes fail by their size. The mount is for what is opened from now on.
_READ_ONLY = """
import ctypes, os, resource
folder, read_only = sys.argv[2].encode(), sys.argv[3] == "True"
def limit(process):
    owner = os.stat(f"/proc/{process}")
    os.setgid(owner.st_gid)  # as who it is: root may lack the capability for others
    os.setuid(owner.st_uid)
    _, most = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (0 if read_only else most, most))
for process in found:
    child = os.fork()
    if not child:
        limit(process)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
libc, new_namespace, bind, detach = ctypes.CDLL(None, use_errno=True), 0x20000, 4096, 2
def done(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
done(libc.setns(os.open(f"/proc/{found[0]}/ns/mnt", os.O_RDONLY), new_namespace))
if read_only:
    done(libc.mount(folder, folder, None, bind, None))
    done(libc.mount(None, folder, None, bind | 32 | 1, None))
else:
    done(libc.umount2(folder, detach))
"""


@dataclass(frozen=True)
class Hands:
    """A privileged pod on every node, in the node's own process namespace."""

    kubectl: Kubectl

    def signal(self, kubectl: Kubectl, pod: str, number: int) -> None:
        """Send a signal to every process of a pod's (only) container."""
        self._reach(kubectl, pod, _SEND, str(int(number)))

    def read_only(self, kubectl: Kubectl, pod: str, folder: str, read_only: bool) -> None:
        """Let a pod's (only) container write to a folder no longer, whatever it has open; or again."""
        self._reach(kubectl, pod, _READ_ONLY, folder, str(read_only))

    def _reach(self, kubectl: Kubectl, pod: str, script: str, *arguments: str) -> None:
        found = kubectl.get("pod", pod)
        assert found is not None, f"there is no pod {pod}"
        container = found["status"]["containerStatuses"][0]["containerID"].partition("://")[2]
        node = found["spec"]["nodeName"]
        (hand,) = [each for each in self.kubectl.list("pods") if each["spec"]["nodeName"] == node]
        name = hand["metadata"]["name"]
        self.kubectl("exec", name, "--", "python", "-c", _FIND + script, container, *arguments)


def put_out(cluster: Cluster) -> Hands:
    """Start them."""
    kubectl = cluster.kubectl.within(NAMESPACE)
    labels = {"app": NAMESPACE}
    namespace: Resource = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}},
    }
    pod: Resource = {
        "hostPID": True,
        "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
        "containers": [container(cluster, "hand", IDLE, securityContext={"privileged": True, "runAsUser": 0})],
    }
    daemons: Resource = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "hands", "namespace": NAMESPACE},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
    kubectl.apply(namespace, daemons)

    def there() -> bool:
        status = (kubectl.get("daemonset", "hands") or {}).get("status", {})
        wanted, ready = int(status.get("desiredNumberScheduled", 0)), int(status.get("numberReady", 0))
        return 0 < wanted == ready

    eventually("hands on every node", there)
    return Hands(kubectl)
