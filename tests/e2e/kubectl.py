"""kubectl and helm, with a cluster and a namespace."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.e2e.commands import CommandFailed, run

Resource = dict[str, Any]


@dataclass(frozen=True)
class Kubectl:
    """The cluster of a kubeconfig, in one namespace."""

    kubeconfig: Path
    namespace: str = "default"
    user: str = ""
    """Whom kubectl acts as; empty: the kubeconfig's own user."""

    def within(self, namespace: str) -> "Kubectl":
        """The same cluster, another namespace."""
        return replace(self, namespace=namespace)

    def acting_as(self, user: str) -> "Kubectl":
        """The same cluster and namespace, with the rights of another user."""
        return replace(self, user=user)

    @property
    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def __call__(self, *words: str, given: str | None = None, seconds: float = 60.0) -> str:
        """Run kubectl; return what it wrote. Raises CommandFailed."""
        who = [f"--as={self.user}"] if self.user else []
        line = ("kubectl", "--namespace", self.namespace, *who, *words)
        return run(*line, given=given, environment=self.environment, seconds=seconds)

    def helm(self, *words: str, seconds: float = 300.0) -> str:
        """Run helm; return what it wrote. Raises CommandFailed."""
        return run("helm", "--namespace", self.namespace, *words, environment=self.environment, seconds=seconds)

    def get(self, kind: str, name: str) -> Resource | None:
        """Return an object, None if there is none."""
        found = self("get", kind, name, "--output", "json", "--ignore-not-found")
        return dict(json.loads(found)) if found.strip() else None

    def list(self, kind: str, labels: str = "") -> list[Resource]:
        """Return objects of this namespace, by name."""
        found = self("get", kind, "--output", "json", *(["--selector", labels] if labels else []))
        return sorted(json.loads(found)["items"], key=lambda resource: str(resource["metadata"]["name"]))

    def apply(self, *resources: Resource, dry: bool = False) -> str:
        """Apply objects; with `dry` only ask the API server whether it would take them. Raises CommandFailed."""
        given = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(resources)})
        return self("apply", *(["--dry-run=server"] if dry else []), "--filename", "-", given=given)

    def patch(self, kind: str, name: str, change: Resource) -> None:
        """Merge a change into an object."""
        self("patch", kind, name, "--type", "merge", "--patch", json.dumps(change))

    def raw(self, path: str) -> str:
        """GET a path of the API server."""
        return self("get", "--raw", path)

    def answers(self) -> bool:
        """Tell whether the API server is there."""
        try:
            return self.raw("/readyz") == "ok"
        except CommandFailed:
            return False
