"""How Argo CD judges a HANas: the Lua of manifests/argocd, run on what the operator reports."""

from typing import Any

import lupa  # type: ignore[import-untyped]
import pytest
import yaml

from hanas_operator import conditions, crd, names
from hanas_operator.obstacles import Obstacle
from hanas_operator.plain import plain
from hanas_operator.status import HANasStatus
from tests.unit.operator.making import owner, view
from tests.unit.operator.test_conditions import NOW, running, world
from tests.unit.operator.test_kstatus import PAUSED, UPDATING
from tests.unit.packaging.documents import ROOT

KEY = f"resource.customizations.health.{crd.GROUP}_{crd.KIND}"


def judged(status: dict[str, Any] | None, **metadata: Any) -> tuple[str, str]:
    script = yaml.safe_load((ROOT / "manifests/argocd/health.yaml").read_text(encoding="utf-8"))["data"][KEY]
    lua = lupa.LuaRuntime()
    resource = {"metadata": {"name": "demo", "generation": 3, **metadata}}
    lua.globals().obj = lua.table_from(resource if status is None else {**resource, "status": status}, recursive=True)
    health = lua.execute(script)
    return health.status, health.message


def told(generation: int = 3, **changed: Any) -> dict[str, Any]:
    made = HANasStatus(observed_generation=generation, conditions=conditions.all_of(world(**changed), ()))
    found: dict[str, Any] = plain(made)
    return found


@pytest.mark.parametrize(
    ("status", "verdict", "words"),
    [
        (None, "Progressing", "no operator has looked"),
        ({"observedGeneration": -1}, "Progressing", "no operator has looked"),
        (told(), "Healthy", "worker-0 serves as the main"),
        (told(2), "Progressing", "not seen this change yet"),
        (told(updated=UPDATING), "Progressing", "1 of 3 workers are updated"),
        (told(problems=(Obstacle("NameTaken", "rename it"),)), "Degraded", "rename it"),
        (told(pods=running(workers=2)), "Degraded", "2 of 3 workers are ready"),
        (told(view=view(None), pods=running(None)), "Progressing", "waiting for the first worker"),
    ],
)
def test_what_argo_cd_shows(status: dict[str, Any] | None, verdict: str, words: str) -> None:
    shown, message = judged(status)
    assert shown == verdict
    assert words in message


def test_a_paused_hanas_is_suspended() -> None:
    status = told(paused=True, updated=PAUSED)
    assert judged(status, annotations={names.PAUSED: "true"})[0] == "Suspended"
    assert judged(told(), annotations={names.PAUSED: "false"})[0] == "Healthy"


def test_a_hanas_without_workers_is_suspended() -> None:
    status = told(owner=owner({"workers": 0}), view=None, pods=())
    assert judged(status)[0] == "Suspended"


def test_an_invalid_spec_is_degraded() -> None:
    invalid = conditions.invalid("no such field", 3, NOW, ())
    status = plain(HANasStatus(observed_generation=3, conditions=invalid))
    assert judged(status) == ("Degraded", "the spec cannot be used: no such field")
