"""What deployment tools read from the status: by the rules of kstatus (sigs.k8s.io/cli-utils/pkg/kstatus)."""

from typing import Any

import pytest
from msgspec import structs

from hanas_operator import conditions, report
from hanas_operator.obstacles import API_FAILED, Obstacle
from hanas_operator.plain import plain
from hanas_operator.status import HANasStatus, StatusCondition
from hanas_operator.storage import StorageFinding
from tests.unit.operator import schemas
from tests.unit.operator.making import SCHEMA, view
from tests.unit.operator.test_conditions import NOW, world

GENERATION = 3
UPDATING = ("False", "Updating", "1 of 3 workers are updated")
PAUSED = ("Unknown", "Paused", "changes of the spec are not made while the HANas is paused")


def judged(resource: dict[str, Any]) -> str:
    """`status.Compute` of kstatus for a kind that it does not know."""
    status = resource.get("status", {})
    if "deletionTimestamp" in resource["metadata"]:
        return "Terminating"
    if "observedGeneration" in status and status["observedGeneration"] != resource["metadata"]["generation"]:
        return "InProgress"
    for condition in status.get("conditions", []):
        if condition["type"] == "Reconciling" and condition["status"] == "True":
            return "InProgress"
        if condition["type"] == "Stalled" and condition["status"] == "True":
            return "Failed"
    for condition in status.get("conditions", []):
        if condition["type"] == "Ready":
            return "Current" if condition["status"] == "True" else "InProgress"
    return "Current"


def resource(made: tuple[StatusCondition, ...], generation: int = GENERATION) -> dict[str, Any]:
    status = HANasStatus(observed_generation=generation, conditions=made)
    return {"metadata": {"name": "demo", "generation": generation}, "status": plain(status)}


def told(made: tuple[StatusCondition, ...]) -> dict[str, tuple[str, str]]:
    return {one.type: (one.status, one.reason) for one in made}


def verdict(before: tuple[StatusCondition, ...] = (), **changed: Any) -> str:
    seen = world(**changed)
    return judged(resource(conditions.all_of(seen, before), seen.generation))


def test_a_hanas_that_no_operator_has_seen_is_in_progress() -> None:
    fresh = {"metadata": {"name": "demo", "generation": 1}, "spec": {}}
    assert judged(schemas.with_defaults(SCHEMA, fresh)) == "InProgress"


def test_a_hanas_as_it_should_be_is_current() -> None:
    assert verdict() == "Current"


@pytest.mark.parametrize(
    "changed",
    [
        {"updated": UPDATING},
        {"view": None, "view_trouble": "it is silent"},
        {"view": view(state="elect")},
        {"problems": (Obstacle(API_FAILED, "again"),), "updated": ("False", API_FAILED, "again")},
        {"problems": (Obstacle("TokensMissing", "make it"),), "updated": ("False", "TokensMissing", "make it")},
        {
            "storage": StorageFinding("False", "ClaimMissing", "make it", blocks=True),
            "updated": ("False", "Waiting", "the pods are not made yet"),
            "view": None,
        },
        {"updated": PAUSED},
    ],
)
def test_what_may_come_by_itself_is_in_progress(changed: dict[str, Any]) -> None:
    assert verdict(**changed) == "InProgress"
    assert told(conditions.all_of(world(**changed), ()))["Stalled"] == ("False", "NotStalled")


@pytest.mark.parametrize(
    "changed",
    [
        {"problems": (Obstacle("NoImage", "name it"),), "updated": ("False", "NoImage", "name it")},
        {"problems": (Obstacle("Rejected", "no"),), "updated": ("False", "Rejected", "no")},
        {"problems": (Obstacle("ClaimInUse", "no"),), "updated": ("False", "ClaimInUse", "no")},
        {"storage": StorageFinding("False", "ClaimNotShared", "another", blocks=True), "updated": UPDATING},
        {"storage": StorageFinding("False", "ForeignFolder", "the right one")},
    ],
)
def test_what_waits_for_a_person_has_failed(changed: dict[str, Any]) -> None:
    assert verdict(**changed) == "Failed"
    assert told(conditions.all_of(world(**changed), ()))["Reconciling"][0] == "False"


def test_a_volume_that_is_full_is_trouble_of_the_day_and_no_failed_change() -> None:
    assert verdict(storage=StorageFinding("False", "FolderFull", "make room")) == "Current"


def test_an_invalid_spec_has_failed_and_a_valid_one_ends_that() -> None:
    before = conditions.all_of(world(), ())
    last = HANasStatus(observed_generation=GENERATION, conditions=before)
    hanas = {"metadata": {"name": "demo", "generation": 4}}
    invalid = report.refused(last, hanas, conditions.invalid("no", 4, NOW, before))
    assert judged({**hanas, "status": plain(invalid)}) == "Failed"
    assert verdict(invalid.conditions, generation=5) == "Current"


def test_a_pause_with_a_change_that_is_not_made_is_in_progress_and_another_one_is_not() -> None:
    before = conditions.all_of(world(), ())
    assert verdict(before, paused=True, updated=PAUSED) == "Current"
    later = structs.replace(world(paused=True, updated=PAUSED), generation=GENERATION + 1)
    once = conditions.all_of(later, before)
    assert judged(resource(once, GENERATION + 1)) == "InProgress"
    assert judged(resource(conditions.all_of(later, once), GENERATION + 1)) == "InProgress"


def test_a_takeover_stalls_and_changes_nothing() -> None:
    made = told(conditions.all_of(world(view=view(alive=False)), ()))
    assert made["Reconciling"] == ("False", "AllUpdated")
    assert made["Stalled"] == ("False", "NotStalled")


def test_a_hanas_that_is_being_deleted_is_terminating() -> None:
    made = resource(conditions.all_of(world(), ()))
    made["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert judged(made) == "Terminating"
