"""HANas resources and what belongs to them, as tests need them."""

import base64
from typing import Any

from hanas_core.members.documents import Alert, MainInfo
from hanas_core.members.roles import MainState
from hanas_core.members.verdicts import Severity, Verdict
from hanas_operator import crd, kinds, names, spec
from hanas_operator.objects.owner import Owner
from hanas_operator.replacing import REVISION
from hanas_operator.tls.trust import Trust
from hanas_operator.view import ClusterView, LinkView, MemberView
from tests.unit.operator import schemas
from tests.unit.operator.api_server import ApiServer, Resource

NAMESPACE, NAME, UID, IMAGE = "shop", "demo", "0f1e2d3c-uid", "hanas:test"
KEY = (NAMESPACE, NAME)
FOLDER_ID = "0123456789abcdef"
SCHEMA = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


class NoTrust(Trust):
    """That of pods without TLS: nobody asks it for anything."""

    def __init__(self) -> None:
        pass


def owner(found: Resource | None = None, *, name: str = NAME, folder_id: str = "") -> Owner:
    """Return a HANas with this spec, defaults set."""
    complete = schemas.with_defaults(SCHEMA["properties"]["spec"], found or {})
    return Owner(name=name, namespace=NAMESPACE, uid=UID, spec=spec.read(complete), image=IMAGE, folder_id=folder_id)


def failure(name: str = "wire-1", source: str = "worker-0", target: str = "worker-1", **more: Any) -> Resource:
    return {"name": name, "source": source, "target": target, **more}


def view(
    main: str | None = "worker-0",
    *,
    epoch: int = 1,
    state: str = "serving",
    members: int = 3,
    failed: tuple[str, ...] = (),
    alerts: tuple[Alert, ...] = (),
    folder_id: str = FOLDER_ID,
    alive: bool = True,
) -> ClusterView:
    """Return what an overseer would tell. ``failed``: the backups that hear nothing of the main."""
    everybody = [names.member(ordinal) for ordinal in range(members)]
    backups = [member for member in everybody if member != main]
    return ClusterView(
        folder_id=folder_id,
        epoch=0 if main is None else epoch,
        main=None if main is None else MainInfo(main, "ab" * 16, "http://a", "http://b", epoch, MainState(state)),
        members=tuple(
            MemberView(
                member=member,
                alive=alive,
                verdict="LinkFailed" if member in failed else "Healthy",
            )
            for member in everybody
        ),
        links=()
        if main is None
        else tuple(
            LinkView(origin=main, to=member, state="failed" if member in failed else "up") for member in backups
        ),
        alerts=alerts,
    )


def alert(kind: Verdict = Verdict.FOLDER_FULL, message: str = "the volume is full", **more: str) -> Alert:
    return Alert(
        id="a1",
        severity=Severity.CRITICAL,
        kind=kind,
        member=more.get("member", "worker-0"),
        about=more.get("about", "worker-0"),
        message=message,
        advice="make room",
        since="2026-01-01T00:00:00.000+00:00",
    )


def pod(name: str, component: str, *, ready: bool = True, **status: Any) -> Resource:
    """Return a pod as its controller and a kubelet would make it."""
    labels = names.labels(NAME, component)
    if component == names.WORKER:
        labels |= {names.POD_NAME: name, names.POD_INDEX: name.rpartition("-")[2]}
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": f"uid-of-{name}", "labels": labels},
        "status": {"conditions": [condition], **status},
    }


def settle(server: ApiServer, namespace: str = NAMESPACE) -> None:
    """Do what controllers, kubelets and provisioners would: bind claims, run pods, report them ready."""
    for claim in server.all(kinds.CLAIM):
        name = claim["metadata"]["name"]
        server.change(
            kinds.CLAIM,
            namespace,
            name,
            {"spec": {"volumeName": "pv-1"}, "status": {"phase": "Bound", "accessModes": claim["spec"]["accessModes"]}},
        )
    wanted: dict[str, tuple[Resource, str]] = {}
    for kind, component in ((kinds.STATEFUL_SET, names.WORKER), (kinds.DEPLOYMENT, names.OVERSEER)):
        for found in server.all(kind):
            name, replicas = found["metadata"]["name"], found["spec"]["replicas"]
            wanted |= {f"{name}-{ordinal}": (found, component) for ordinal in range(replicas)}
            counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas"), replicas)
            revisions = dict.fromkeys(("currentRevision", "updateRevision"), "r1")
            seen = {"observedGeneration": found["metadata"]["generation"]}
            server.change(kind, namespace, name, {"status": {**counts, **revisions, **seen}})
    for found in server.all(kinds.POD):
        if found["metadata"]["name"] not in wanted:
            server.remove(kinds.POD, namespace, found["metadata"]["name"])
    for name, (parent, component) in wanted.items():
        if server.find(kinds.POD, namespace, name) is None:
            made, template = pod(name, component), parent["spec"]["template"]["metadata"]
            labels = {**made["metadata"]["labels"], **template["labels"]}
            labels[REVISION] = "r1"
            owners = [{"uid": parent["metadata"]["uid"], "kind": parent["kind"], "name": parent["metadata"]["name"]}]
            server.put(
                kinds.POD,
                namespace,
                name,
                metadata={"labels": labels, "annotations": template["annotations"], "ownerReferences": owners},
                status=made["status"],
            )


def role(server: ApiServer, member: str) -> str | None:
    found = server.take(kinds.POD, NAMESPACE, names.of(NAME, member))
    label: str | None = found["metadata"]["labels"].get(names.ROLE)
    return label


def status(server: ApiServer) -> Resource:
    found: Resource = server.take(kinds.HANAS, *KEY).get("status", {})
    return found


def condition(server: ApiServer, kind: str) -> Resource:
    found: Resource = next(one for one in status(server)["conditions"] if one["type"] == kind)
    return found


def secret_of(server: ApiServer) -> str:
    return base64.b64decode(
        server.take(kinds.SECRET, NAMESPACE, names.of(NAME, names.SECRET))["data"]["secret"]
    ).decode()
