"""The CustomResourceDefinition of HANas, generated from the types with which the operator reads it."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from hanas_operator import rules, schema
from hanas_operator.spec import HANasSpec
from hanas_operator.status import UNSEEN, ConditionType, HANasStatus

GROUP, VERSION, PLURAL, KIND = "hanas.dev", "v1alpha1", "hanases", "HANas"
NAME = f"{PLURAL}.{GROUP}"
API_VERSION = f"{GROUP}/{VERSION}"


class _Resource(Struct, rename="camel"):
    """A highly available key-value store on a shared volume."""

    spec: Annotated[
        HANasSpec,
        Meta(
            description="The desired state.",
            extra_json_schema={"x-kubernetes-validations": rules.rendered(rules.SPEC)},
        ),
    ] = HANasSpec()
    status: Annotated[
        HANasStatus | UnsetType,
        Meta(
            description="The state that the operator last observed.",
            extra_json_schema={"default": {"observedGeneration": UNSEEN}},
        ),
    ] = UNSET


def definition() -> dict[str, Any]:
    """Return the CustomResourceDefinition as a plain dict."""
    resource = schema.structural(_Resource)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "plural": PLURAL,
                "singular": "hanas",
                "kind": KIND,
                "listKind": f"{KIND}List",
                "shortNames": ["hn"],
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {
                        "openAPIV3Schema": {
                            "description": resource["description"],
                            "type": "object",
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                **resource["properties"],
                            },
                            "x-kubernetes-validations": rules.rendered(rules.OBJECT),
                        }
                    },
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.workers",
                            "statusReplicasPath": ".status.workers",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": [
                        _column("Ready", _of(ConditionType.READY, "status")),
                        _column("Main", ".status.main"),
                        _column("Epoch", ".status.epoch", kind="integer"),
                        _column("Workers", ".status.readyWorkers", kind="integer"),
                        _column("Wanted", ".spec.workers", kind="integer"),
                        _column("Updated", ".status.updatedWorkers", kind="integer", priority=1),
                        _column("Image", ".status.image", priority=1),
                        _column("Links", _of(ConditionType.LINK_HEALTHY, "reason")),
                        _column("Age", ".metadata.creationTimestamp", kind="date"),
                        _column("Storage", _of(ConditionType.STORAGE_READY, "reason"), priority=1),
                        _column("Reason", _of(ConditionType.READY, "reason"), priority=1),
                        _column("Message", _of(ConditionType.READY, "message"), priority=1),
                    ],
                }
            ],
        },
    }


def _of(condition: ConditionType, field: str) -> str:
    return f'.status.conditions[?(@.type=="{condition}")].{field}'


def _column(name: str, path: str, *, kind: str = "string", priority: int = 0) -> dict[str, Any]:
    column: dict[str, Any] = {"name": name, "type": kind, "jsonPath": path}
    return column if priority == 0 else {**column, "priority": priority}
