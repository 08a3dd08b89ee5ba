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
_LOOK_SECONDS = 0.5


def switch_over(arguments: Namespace) -> None:
    """Have a worker become the main, as planned, and wait until it is."""
    tool = resources.kubectl(arguments)
    hanas = resources.chosen(tool, arguments.cluster)
    name, worker = resources.name_of(hanas), arguments.worker
    members = [f"worker-{ordinal}" for ordinal in range(hanas["spec"].get("workers", 3))]
    if worker not in members:
        raise HanasError(f"{name} has no worker {worker!r}; its workers are {members[0]} to {members[-1]}")
    before = (hanas.get("status") or {}).get("main", "")
    if before == worker:
        commands.report(arguments, {"hanas": name, "from": before, "to": worker}, f"{worker} is the main already")
        return
    tool.annotate(resources.HANAS, name, SWITCHOVER, worker)
    _wait(
        tool,
        (resources.HANAS, name),
        lambda found: (found.get("status") or {}).get("main") == worker,
        arguments.timeout,
        f"{worker} did not become the main; kubectl hanas status tells more",
    )
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
    """Make a backup of all keys; wait for its end if asked to."""
    tool = resources.kubectl(arguments)
    name = resources.name_of(resources.chosen(tool, arguments.cluster))
    made = tool.create(_manifest(BACKUP, name, {"hanas": name}))
    commands.report(arguments, {"backup": resources.name_of(made)}, f"{_reference(made)} is being made")


def _manifest(kind: str, cluster: str, spec: dict[str, object]) -> Resource:
    metadata = {"generateName": f"{cluster}-"}
    return {"apiVersion": resources.API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def _reference(made: Resource) -> str:
    return f"{made['kind']} {resources.name_of(made)}"


def _wait(
    tool: Kubectl, what: tuple[str, str], done: Callable[[Resource], bool], seconds: float, otherwise: str
) -> Resource:
    """Return the object once it is ``done``. Raises HanasError with the words ``otherwise``."""
    end = time.monotonic() + seconds
    while True:
        found = tool.get(*what)
        if done(found):
            return found
        if time.monotonic() > end:
            raise HanasError(f"after {seconds:.0f} s: {otherwise}")
        time.sleep(_LOOK_SECONDS)
