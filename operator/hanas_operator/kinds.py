"""The kinds of objects that the operator works with, and their paths in the API."""

from typing import NamedTuple

from hanas_operator.crd import GROUP, KIND, PLURAL, VERSION


class Kind(NamedTuple):
    """One kind of object."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """Group and version, as objects have it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the path of the objects of a namespace (None: of all), or of one of them."""
        root = f"/apis/{self.group}" if self.group else "/api"
        place = [f"{root}/{self.version}"]
        if namespace is not None and self.namespaced:
            place += ["namespaces", namespace]
        place += [part for part in (self.plural, name, subresource) if part is not None]
        return "/".join(place)


HANAS = Kind(GROUP, VERSION, PLURAL, KIND)
POD = Kind("", "v1", "pods", "Pod")
CLAIM = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SERVICE = Kind("", "v1", "services", "Service")
CONFIG_MAP = Kind("", "v1", "configmaps", "ConfigMap")
SECRET = Kind("", "v1", "secrets", "Secret")
CORE_EVENT = Kind("", "v1", "events", "Event")
DEPLOYMENT = Kind("apps", "v1", "deployments", "Deployment")
STATEFUL_SET = Kind("apps", "v1", "statefulsets", "StatefulSet")
BUDGET = Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
POLICY = Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
EVENT = Kind("events.k8s.io", "v1", "events", "Event")
STORAGE_CLASS = Kind("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False)

APPLIED = (CLAIM, CONFIG_MAP, POLICY, SERVICE, BUDGET, DEPLOYMENT, STATEFUL_SET)
"""The kinds that are applied, each listed once in every reconcile."""
WATCHED = (POD, *APPLIED)
"""The kinds of children whose changes bring about a reconcile."""
BY_NAME = {kind.kind: kind for kind in APPLIED}
