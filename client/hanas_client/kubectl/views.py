"""What `kubectl hanas` shows: the resource as the operator reports it, and the cluster as an overseer sees it."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from hanas_client import commands, tables
from hanas_client.errors import HanasError
from hanas_client.kubectl import resources
from hanas_client.kubectl.tool import Resource
from hanas_client.narration import Sentence, Tone

_COLUMNS = ("CONDITION", "STATUS", "REASON", "MESSAGE")
_FAILURE_COLUMNS = ("LINK FAILURE", "STATE", "OBSERVED", "CUT", "HEALS AT")


def status(arguments: Namespace) -> None:
    """Show the conditions of a HANas, and its cluster. What the operator reports is shown without an overseer too."""
    tool = resources.kubectl(arguments)
    hanas = resources.chosen(tool, arguments.cluster)
    if not arguments.json:
        show(hanas)
    try:
        with resources.overseer(tool, hanas, arguments) as client:
            cluster = client.cluster()
    except HanasError as error:
        if arguments.json:
            commands.report(arguments, {"hanas": _outline(hanas), "cluster": None}, "")
        raise HanasError(f"no view of an overseer: {error}") from None
    if arguments.json:
        commands.report(arguments, {"hanas": _outline(hanas), "cluster": cluster}, "")
    else:
        tables.show_cluster(tables.console(), cluster)


def takeovers(arguments: Namespace) -> None:
    """Show the history of mains, each with its reason, and the evidence."""
    tool = resources.kubectl(arguments)
    with resources.overseer(tool, resources.chosen(tool, arguments.cluster), arguments) as client:
        history = client.takeovers()
    if arguments.json:
        commands.report(arguments, {"takeovers": history}, "")
    else:
        tables.show_takeovers(tables.console(), history, verbose=not arguments.brief)


def show(hanas: Resource) -> None:
    """Print what the operator reports."""
    output = tables.console()
    told: dict[str, Any] = hanas.get("status") or {}
    conditions = told.get("conditions", [])
    if not conditions:
        waits = "no operator has looked at it yet; kubectl get deployments -A -l app.kubernetes.io/part-of=hanas"
        tables.say(output, Sentence(f"{_title(hanas)}: {waits}", "urgent"))
        return
    workers = f"{told.get('readyWorkers', 0)} of {hanas['spec'].get('workers', 3)} workers ready"
    words = f"{_title(hanas)}: main {told.get('main') or 'none'}, epoch {told.get('epoch', 0)}, {workers}"
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    tone: Tone = "good" if ready else "urgent"
    tables.say(output, Sentence(f"{words}, image {told.get('image') or 'none'}", tone))
    rows = [[one["type"], one["status"], one["reason"], one["message"]] for one in conditions]
    tables.show(output, _COLUMNS, rows)
    failures = told.get("linkFailures", [])
    if failures:
        fields = ("name", "state", "observed", "cut", "healsAt")
        tables.show(output, _FAILURE_COLUMNS, [[one.get(field, "–") for field in fields] for one in failures])


def _title(hanas: Resource) -> str:
    return f"{hanas['metadata']['namespace']}/{resources.name_of(hanas)}"


def _outline(hanas: Resource) -> Resource:
    metadata = hanas["metadata"]
    return {
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "generation": metadata.get("generation"),
        "status": hanas.get("status") or {},
    }
