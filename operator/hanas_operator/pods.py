"""The state of pods: readiness, and the reason when it is missing. Pure functions."""

from collections.abc import Iterable
from typing import Any

from hanas_operator import names

Pod = dict[str, Any]
_LONGEST = 300
_PATIENT_REASONS = {"ContainerCreating", "PodInitializing"}


def is_ready(pod: Pod) -> bool:
    """Return whether a pod is ready and is not being deleted."""
    if "deletionTimestamp" in pod["metadata"]:
        return False
    return condition(pod, "Ready").get("status") == "True"


def condition(resource: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return a condition of a pod, a node or a Job, empty if it has none of this kind."""
    conditions: list[dict[str, Any]] = resource.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one.get("type") == kind), {})


def of(pods: Iterable[Pod], component: str) -> list[Pod]:
    """Return the pods of a component, by name."""
    own = [pod for pod in pods if pod["metadata"].get("labels", {}).get("app.kubernetes.io/component") == component]
    return sorted(own, key=lambda pod: str(pod["metadata"]["name"]))


def ready_members(cluster: str, pods: Iterable[Pod]) -> set[str]:
    """Return the members whose pods are ready."""
    return {names.member_of(cluster, pod["metadata"]["name"]) for pod in of(pods, names.WORKER) if is_ready(pod)}


def troubles(pods: Iterable[Pod]) -> list[str]:
    """Return a line for each pod that is not ready for a known reason."""
    return [
        f"{pod['metadata']['name']}: {why}"
        for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))
        if not is_ready(pod) and (why := _trouble(pod))
    ]


def _trouble(pod: Pod) -> str:
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return _short(f"{scheduled.get('reason', 'Unschedulable')}: {scheduled.get('message', '')}")
    for container in pod.get("status", {}).get("containerStatuses", []):
        state, last = container.get("state", {}), container.get("lastState", {})
        ended = state.get("terminated") or last.get("terminated") or {}
        words = last_words(ended.get("message", ""))
        waiting = state.get("waiting", {})
        reason = waiting.get("reason", "")
        if reason and reason not in _PATIENT_REASONS:
            return _short(f"{reason}: {words or waiting.get('message', '')}")
        if ended.get("exitCode"):
            return _short(f"{ended.get('reason', 'Error')}: {words or 'exit code ' + str(ended['exitCode'])}")
    return ""


def last_words(log: str) -> str:
    """Return the last line of a log that is not empty."""
    return next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "")


def _short(text: str) -> str:
    text = text.strip().removesuffix(":")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
