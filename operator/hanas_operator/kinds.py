"""The kinds of objects that the operator uses, and their paths in the API."""

from typing import NamedTuple

from hanas_operator import crd
from hanas_operator.crd import GROUP, KIND, PLURAL, VERSION


class ResourceKind(NamedTuple):
    """One kind of object."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """Group and version, as manifests name them."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the path of the objects of a namespace (None: of all), or of one of them."""
        root = f"/apis/{self.group}" if self.group else "/api"
        place = [f"{root}/{self.version}"]
        if namespace is not None and self.namespaced:
            place += ["namespaces", namespace]
        place += [part for part in (self.plural, name, subresource) if part is not None]
        return "/".join(place)


HANAS = ResourceKind(GROUP, VERSION, PLURAL, KIND)
LINK_FAILURE = ResourceKind(GROUP, VERSION, crd.LINK_FAILURES, crd.LINK_FAILURE)
BACKUP = ResourceKind(GROUP, VERSION, crd.BACKUPS, crd.BACKUP)
SCHEDULED_BACKUP = ResourceKind(GROUP, VERSION, crd.SCHEDULED_BACKUPS, crd.SCHEDULED_BACKUP)
JOB = ResourceKind("batch", "v1", "jobs", "Job")
POD = ResourceKind("", "v1", "pods", "Pod")
CLAIM = ResourceKind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SERVICE = ResourceKind("", "v1", "services", "Service")
CONFIG_MAP = ResourceKind("", "v1", "configmaps", "ConfigMap")
SECRET = ResourceKind("", "v1", "secrets", "Secret")
CORE_EVENT = ResourceKind("", "v1", "events", "Event")
DEPLOYMENT = ResourceKind("apps", "v1", "deployments", "Deployment")
STATEFUL_SET = ResourceKind("apps", "v1", "statefulsets", "StatefulSet")
BUDGET = ResourceKind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
POLICY = ResourceKind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
EVENT = ResourceKind("events.k8s.io", "v1", "events", "Event")
NODE = ResourceKind("", "v1", "nodes", "Node", namespaced=False)
STORAGE_CLASS = ResourceKind("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)
LEASE = ResourceKind("coordination.k8s.io", "v1", "leases", "Lease")
SNAPSHOT = ResourceKind("snapshot.storage.k8s.io", "v1", "volumesnapshots", "VolumeSnapshot")
"""Its definition comes with storage drivers that make snapshots: a cluster may not have it."""
CERTIFICATE = ResourceKind("cert-manager.io", "v1", "certificates", "Certificate")
"""Its definition comes with cert-manager, which a cluster may not have."""

APPLIED = (CLAIM, CONFIG_MAP, POLICY, SERVICE, BUDGET, DEPLOYMENT, STATEFUL_SET)
"""The kinds that the operator applies; every reconcile lists each of them once."""
WATCHED = (POD, *APPLIED)
"""The kinds of objects whose changes request a reconcile."""
BY_NAME = {kind.kind: kind for kind in APPLIED}
