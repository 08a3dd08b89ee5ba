"""What `kubectl hanas` changes: the main, links, backups. Each is an object of its own, or an annotation."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable

from hanas_client import commands
from hanas_client.errors import HanasError
from hanas_client.kubectl import resources
from hanas_client.kubectl.tool import Kubectl, Resource

SWITCHOVER = f"{resources.GROUP}/switchover"
LINK_FAILURE, LINK_FAILURES = "HANasLinkFailure", f"hanaslinkfailures.{resources.GROUP}"
BACKUP, BACKUPS = "HANasBackup", f"hanasbackups.{resources.GROUP}"
_OVER = {"Done", "Refused", "Completed", "Failed"}
"""The states in which a switchover or a backup stays."""
_LOOK_SECONDS = 0.5


def switch_over(arguments: Namespace) -> None:
    """Have a worker become the main, as planned, and wait until it is."""
    tool = resources.kubectl(arguments)
    hanas = resources.chosen(tool, arguments.cluster)
    name, worker = resources.name_of(hanas), arguments.worker
    members = [f"worker-{ordinal}" for ordinal in range(hanas["spec"].get("workers", 3))]
    if worker not in members:
        words = f"its workers are {members[0]} to {members[-1]}" if members else "it hibernates"
        raise HanasError(f"{name} has no worker {worker!r}; {words}")
    before = (hanas.get("status") or {}).get("main", "")
    if before == worker:
        commands.report(arguments, {"hanas": name, "from": before, "to": worker}, f"{worker} is the main already")
        return
    limit = time.monotonic() + arguments.timeout
    taking_back = f"to take it back: kubectl annotate hanas {name} {SWITCHOVER}-"
    # The operator carries each value out once, so it has to see that the last one is gone.
    if SWITCHOVER in hanas["metadata"].get("annotations", {}):
        tool.annotate(resources.HANAS, name, f"{SWITCHOVER}-")
    _wait(tool, resources.HANAS, name, lambda one: _switchover(one) == ("", ""), limit, "the last one is not over")
    tool.annotate(resources.HANAS, name, f"{SWITCHOVER}={worker}")
    found = _wait(
        tool, resources.HANAS, name, lambda one: _switchover(one)[0] in _OVER, limit, taking_back, _switchover
    )
    state, message = _switchover(found)
    if state != "Done":
        raise HanasError(f"the switchover was refused: {message}")
    document: dict[str, object] = {"hanas": name, "from": before, "to": worker}
    commands.report(arguments, document, f"{worker} is the main of {name} now, after {before or 'none'}")


def cut(arguments: Namespace) -> None:
    """Cut the link between two members for a while."""
    tool = resources.kubectl(arguments)
    name = resources.name_of(resources.chosen(tool, arguments.cluster))
    spec = {
        "hanas": name,
        "source": arguments.source,
        "target": arguments.target,
        "direction": "to" if arguments.one_way else "both",
        "planes": ["link", "client"] if arguments.clients else ["link"],
        "duration": arguments.duration,
    }
    made = tool.create(_manifest(LINK_FAILURE, name, spec))
    arrow = "→" if arguments.one_way else "↔"
    words = f"link {arguments.source} {arrow} {arguments.target}: cut for {arguments.duration}"
    commands.report(arguments, {"linkFailure": resources.name_of(made), **spec}, f"{words} ({_reference(made)})")


def heal(arguments: Namespace) -> None:
    """Heal the cut links between two members, or all of a HANas."""
    tool = resources.kubectl(arguments)
    hanas = resources.chosen(tool, arguments.cluster)
    name = resources.name_of(hanas)
    ends = {arguments.source, arguments.target}
    if not arguments.all and None in ends:
        raise ValueError("name both ends of the link, or --all")
    found = [
        resources.name_of(one)
        for one in tool.list(LINK_FAILURES)
        if one["spec"]["hanas"] == name and (arguments.all or {one["spec"]["source"], one["spec"]["target"]} == ends)
    ]
    if found:
        tool.delete(LINK_FAILURES, found)
    left = [
        one["name"]
        for one in hanas["spec"].get("linkFailures", [])
        if arguments.all or {one["source"], one["target"]} == ends
    ]
    if left:
        raise HanasError(f"the spec of {name} has the link failures {', '.join(left)}: remove them from the resource")
    if not found and not arguments.all:
        raise HanasError(f"there is no link failure between {arguments.source} and {arguments.target} of {name}")
    commands.report(arguments, {"healed": found}, f"healed: {', '.join(found) or 'there was nothing to heal'}")


def back_up(arguments: Namespace) -> None:
    """Make a backup of all keys, and wait for its end unless told not to."""
    tool = resources.kubectl(arguments)
    hanas = resources.chosen(tool, arguments.cluster)
    name = resources.name_of(hanas)
    if not (hanas.get("spec") or {}).get("backupTarget"):
        raise HanasError(
            f"{name} names no place for archives: set its spec.backupTarget, such as {{claim: {{name: archives}}}}, or "
            "make a HANasBackup with a target of its own"
        )
    made = tool.create(_manifest(BACKUP, name, {"hanas": name}))
    backup, begun = resources.name_of(made), f"{_reference(made)} is being made"
    if arguments.no_wait:
        commands.report(arguments, {"backup": backup}, begun)
        return
    limit = time.monotonic() + arguments.timeout
    going_on = f"it goes on; to see it: kubectl get hanasbackup {backup}"
    found = _wait(tool, BACKUPS, backup, lambda one: _backup(one)[0] in _OVER, limit, going_on, _backup)
    phase, message = _backup(found)
    if phase != "Completed":
        raise HanasError(f"{_reference(made)} failed: {message}")
    told = {field: found["status"].get(field) for field in ("file", "keys", "size", "revision")}
    words = (
        f"{_reference(made)}: {told['keys']} keys, {told['size']} bytes, revision {told['revision']}, {told['file']}"
    )
    commands.report(arguments, {"backup": backup, **told}, words)


def _manifest(kind: str, cluster: str, spec: dict[str, object]) -> Resource:
    metadata = {"generateName": f"{cluster}-"}
    return {"apiVersion": resources.API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def _reference(made: Resource) -> str:
    return f"{made['kind']} {resources.name_of(made)}"


def _switchover(hanas: Resource) -> tuple[str, str]:
    """Return state and message of the switchover that the operator reports, empty if there is none."""
    told = (hanas.get("status") or {}).get("switchover") or {}
    return told.get("state", ""), told.get("message", "")


def _backup(backup: Resource) -> tuple[str, str]:
    """Return phase and message of a backup."""
    told = backup.get("status") or {}
    return told.get("phase", ""), told.get("message", "")


def _wait(
    tool: Kubectl,
    kind: str,
    name: str,
    done: Callable[[Resource], bool],
    limit: float,
    advice: str,
    state: Callable[[Resource], tuple[str, str]] = _switchover,
) -> Resource:
    """Return an object once it is ``done``. Raises HanasError at ``limit`` (monotonic seconds), with its ``state``."""
    while True:
        found = tool.get(kind, name)
        if done(found):
            return found
        if time.monotonic() > limit:
            told = ": ".join(part for part in state(found) if part) or "no operator has looked at it"
            raise HanasError(f"not done in time ({told}); {advice}")
        time.sleep(_LOOK_SECONDS)
