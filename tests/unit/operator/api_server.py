"""An API server in memory: objects, label selectors, watches, merge patches, server-side apply, owner references.

It knows no schemas and no admission, beyond the defaults of HANas resources. Every call is recorded as RBAC sees it.
"""

import asyncio
import copy
import json
import re
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import web

from hanas_operator import crd, kinds
from hanas_operator.kinds import ResourceKind
from tests.unit.operator import schemas

Resource = dict[str, Any]
Handler = Callable[[web.Request, str], Any]
KINDS = (
    *(
        kinds.HANAS,
        kinds.LINK_FAILURE,
        kinds.BACKUP,
        kinds.SCHEDULED_BACKUP,
        kinds.JOB,
        *kinds.WATCHED,
        kinds.SECRET,
        kinds.CORE_EVENT,
        kinds.EVENT,
        kinds.STORAGE_CLASS,
        kinds.NODE,
        kinds.SNAPSHOT,
        kinds.CERTIFICATE,
    ),
    kinds.LEASE,
)
# kopf waits until it has found these, though it makes no use of them.
FOUND = (
    *KINDS,
    ResourceKind("", "v1", "namespaces", "Namespace", namespaced=False),
    ResourceKind(
        "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
    ),
)
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>v[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>[^/]+)(?P<rest>/.*)?)?)?"
)
_VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}
_SPEC_SCHEMAS = {
    kind: definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for kind in (kinds.HANAS, kinds.LINK_FAILURE, kinds.BACKUP, kinds.SCHEDULED_BACKUP)
    for definition in crd.definitions()
    if definition["spec"]["names"]["kind"] == kind.kind
}


class Call(NamedTuple):
    """One call, in RBAC's words."""

    verb: str
    group: str
    resource: str
    namespace: str | None
    name: str | None


class ApiServer:
    """The state and the handler of all requests."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str, str], Resource] = {}
        self.calls: list[Call] = []
        self.queries: dict[tuple[str, str], dict[str, str]] = {}
        self.bodies: dict[tuple[str, str], Resource] = {}
        self.refusals: dict[tuple[str, str], tuple[int, str]] = {}
        self.proxy: Handler | None = None
        self.down = self.failed = 0
        """As long as it is not 0, the status of every answer."""
        self.url = ""
        self._applied: dict[tuple[tuple[str, str, str, str], str, str], Resource] = {}
        self._version = 0
        self._watches: list[tuple[ResourceKind, str | None, str, asyncio.Queue[Resource]]] = []

    # ------------------------------------------------------------------ what tests do

    def put(self, kind: ResourceKind, namespace: str, name: str, **content: Any) -> Resource:
        """Create or replace an object, as somebody else would."""
        meta = content.pop("metadata", {})
        there = self.find(kind, namespace, name)
        fresh = {"uid": str(uuid.uuid4()), "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1}
        known = fresh if there is None else there["metadata"]
        made = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {**known, **meta, "name": name, **({"namespace": namespace} if kind.namespaced else {})},
            **content,
        }
        return self._store(kind, made)

    def find(self, kind: ResourceKind, namespace: str, name: str) -> Resource | None:
        return self.objects.get((kind.group, kind.plural, namespace if kind.namespaced else "", name))

    def take(self, kind: ResourceKind, namespace: str, name: str) -> Resource:
        found = self.find(kind, namespace, name)
        assert found is not None, f"there is no {kind.kind} {name}"
        return found

    def all(self, kind: ResourceKind) -> list[Resource]:
        return [found for key, found in self.objects.items() if key[:2] == (kind.group, kind.plural)]

    def writes(self) -> list[Call]:
        return [call for call in self.calls if call.verb not in {"get", "list", "watch"}]

    def change(self, kind: ResourceKind, namespace: str, name: str, patch: Resource) -> Resource:
        """Change some fields, as somebody else would."""
        return self._store(kind, _merge(self.take(kind, namespace, name), patch))

    def remove(self, kind: ResourceKind, namespace: str, name: str) -> None:
        """Delete an object, and what nobody else owns."""
        gone = self.objects.pop((kind.group, kind.plural, namespace if kind.namespaced else "", name))
        self._notify("DELETED", kind, gone)
        for other in KINDS:
            for found in self.all(other):
                owners = [reference["uid"] for reference in found["metadata"].get("ownerReferences", [])]
                if gone["metadata"]["uid"] in owners and not self._present(owners):
                    self.remove(other, found["metadata"].get("namespace", ""), found["metadata"]["name"])

    def _present(self, uids: list[str]) -> bool:
        return any(found["metadata"]["uid"] in uids for found in self.objects.values())

    # ------------------------------------------------------------------ HTTP

    def break_watches(self) -> None:
        """End every watch with an error, as a server does that lost its store."""
        error = {"kind": "Status", "status": "Failure", "code": 500, "message": "etcdserver: no leader"}
        for watch in self._watches:
            watch[3].put_nowait({"type": "ERROR", "object": error})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.down:
            self.failed += 1
            return _failure(self.down, "InternalError", "etcd is away")
        found = _PATH.fullmatch(request.path)
        if found is None or found["plural"] in {"", None}:
            return self._discover(request.path)
        kind = next(
            (
                known
                for known in KINDS
                if (known.group, known.version, known.plural)
                == (found["group"] or "", found["version"], found["plural"])
            ),
            None,
        )
        resource = found["plural"] + (f"/{found['sub']}" if found["sub"] else "")
        watching = request.query.get("watch") in {"true", "1"}
        verb = _VERBS.get(request.method) or ("get" if found["name"] else "watch" if watching else "list")
        self.calls.append(Call(verb, found["group"] or "", resource, found["namespace"], found["name"]))
        self.queries[verb, resource] = dict(request.query)
        if request.method != "GET":
            self.bodies[verb, resource] = json.loads(await request.read() or b"{}")
        if found["sub"] == "proxy" and self.proxy is not None:
            answer: web.StreamResponse = await self.proxy(request, found["rest"] or "/")
            return answer
        if kind is None:
            return _failure(404, "NotFound", "the server could not find the requested resource")
        if (verb, resource) in self.refusals:
            status, message = self.refusals[verb, resource]
            return _failure(
                status, {403: "Forbidden", 404: "NotFound", 422: "Invalid"}.get(status, "InternalError"), message
            )
        if watching:
            return await self._watch(request, kind, found["namespace"])
        return await self._answer(request, kind, found["namespace"] or "", found["name"], found["sub"])

    def _discover(self, path: str) -> web.Response:
        groups = sorted({(kind.group, kind.version) for kind in FOUND if kind.group})
        if path == "/api":
            return web.json_response({"versions": ["v1"]})
        if path == "/apis":
            versions = [
                (group, {"groupVersion": f"{group}/{version}", "version": version}) for group, version in groups
            ]
            found = [{"name": name, "versions": [one], "preferredVersion": one} for name, one in versions]
            return web.json_response({"groups": found})
        for group, version in [("", "v1"), *groups]:
            if path == (f"/apis/{group}/{version}" if group else f"/api/{version}"):
                return web.json_response({"resources": [_described(kind) for kind in FOUND if kind.group == group]})
        return _failure(404, "NotFound", f"nothing at {path}")

    async def _answer(
        self, request: web.Request, kind: ResourceKind, namespace: str, name: str | None, sub: str | None
    ) -> web.Response:
        key = (kind.group, kind.plural, namespace, name or "")
        body = json.loads(await request.read() or b"{}")
        if request.method == "GET" and name is None:
            return self._list(
                kind, namespace, request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
            )
        if request.method == "POST":
            return self._create(kind, namespace, body)
        if request.method == "PATCH" and request.content_type == "application/apply-patch+yaml":
            return self._apply(kind, key, body, sub, request.query["fieldManager"])
        there = self.objects.get(key)
        if there is None:
            return _failure(404, "NotFound", f"{kind.plural} {name!r} not found")
        wanted = body.get("preconditions", body.get("metadata", {}))
        for field in ("uid", "resourceVersion"):
            if wanted.get(field, there["metadata"][field]) != there["metadata"][field]:
                return _failure(409, "Conflict", f"metadata.{field} does not match")
        if request.method == "DELETE":
            self.remove(kind, namespace, key[3])
        elif request.method == "PATCH":
            there = self._store(kind, _merge(there, body))
        return web.json_response(there)

    def _list(self, kind: ResourceKind, namespace: str, labels: str, fields: str) -> web.Response:
        # As the real one: the items of a list do not say of which kind they are.
        items = [
            _without(found, "apiVersion", "kind")
            for found in self.all(kind)
            if (not namespace or found["metadata"].get("namespace") == namespace)
            and _selected(found, labels)
            and _fields(found, fields)
        ]
        return web.json_response({"items": items, "metadata": {"resourceVersion": str(self._version)}})

    def _create(self, kind: ResourceKind, namespace: str, body: Resource) -> web.Response:
        name = body["metadata"]["name"]
        if self.find(kind, namespace, name) is not None:
            return _failure(409, "AlreadyExists", f"{kind.plural} {name!r} already exists")
        return web.json_response(self.put(kind, namespace, name, **_without(body, "apiVersion", "kind")), status=201)

    def _apply(
        self, kind: ResourceKind, key: tuple[str, str, str, str], body: Resource, sub: str | None, manager: str
    ) -> web.Response:
        there = self.objects.get(key)
        uid = body["metadata"].pop("uid", None)
        if uid is not None and (there is None or there["metadata"]["uid"] != uid):
            return _failure(409, "Conflict", "metadata.uid does not match")
        if there is None:
            if sub:
                return _failure(404, "NotFound", f"{key[3]!r} not found")
            there = self.put(kind, key[2], key[3])
        owned = (key, manager, sub or "")
        content = {"status": body.get("status", {})} if sub else _without(body, "status")
        result = _merge_in(_less(copy.deepcopy(there), self._applied.get(owned, {}), content), content)
        self._applied[owned] = copy.deepcopy(content)
        return web.json_response(self._store(kind, result))

    async def _watch(self, request: web.Request, kind: ResourceKind, namespace: str | None) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        queue: asyncio.Queue[Resource] = asyncio.Queue()
        entry = (kind, namespace, request.query.get("labelSelector", ""), queue)
        self._watches.append(entry)
        try:
            while True:
                await response.write(json.dumps(await queue.get()).encode() + b"\n")
        except ConnectionResetError:
            return response
        finally:
            self._watches.remove(entry)

    # ------------------------------------------------------------------ state

    def _store(self, kind: ResourceKind, made: Resource) -> Resource:
        meta = made["metadata"]
        key = (kind.group, kind.plural, meta.get("namespace", ""), meta["name"])
        there = self.objects.get(key)
        if kind in _SPEC_SCHEMAS:
            made["spec"] = schemas.with_defaults(_SPEC_SCHEMAS[kind], made.get("spec", {}))
        if kind in {*_SPEC_SCHEMAS, kinds.STATEFUL_SET, kinds.DEPLOYMENT}:
            changed = there is not None and "spec" in there and there["spec"] != made.get("spec")
            meta["generation"] = (1 if there is None else there["metadata"]["generation"]) + changed
        if there is not None and _settled(there) == _settled(made):
            return there
        self._version += 1
        made = copy.deepcopy(made)
        made["metadata"]["resourceVersion"] = str(self._version)
        self.objects[key] = made
        self._notify("ADDED" if there is None else "MODIFIED", kind, made)
        return made

    def _notify(self, event: str, kind: ResourceKind, found: Resource) -> None:
        for watched, namespace, labels, queue in self._watches:
            inside = namespace is None or found["metadata"].get("namespace") == namespace
            if watched == kind and inside and _selected(found, labels):
                queue.put_nowait({"type": event, "object": copy.deepcopy(found)})


@asynccontextmanager
async def serving(server: ApiServer) -> AsyncIterator[ApiServer]:
    """Serve on a free port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()


def _described(kind: ResourceKind) -> Resource:
    verbs = ["get", "list", "watch", "create", "patch", "update", "delete"]
    return {
        "name": kind.plural,
        "kind": kind.kind,
        "singularName": kind.kind.lower(),
        "namespaced": kind.namespaced,
        "verbs": verbs,
    }


def _failure(status: int, reason: str, message: str) -> web.Response:
    body: Resource = {"kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": message}
    if message.endswith("because it is being terminated"):
        body["details"] = {"causes": [{"reason": "NamespaceTerminating", "message": "it is being terminated"}]}
    return web.json_response(body, status=status)


def _settled(found: Resource) -> Resource:
    return {**found, "metadata": _without(found["metadata"], "resourceVersion")}


def _without(found: Resource, *names: str) -> Resource:
    return {name: value for name, value in found.items() if name not in names}


def _merge(there: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(there) if isinstance(there, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merge(result.get(name), value)
    return result


def _merge_in(there: Any, wanted: Any) -> Any:
    if not isinstance(wanted, dict) or not isinstance(there, dict):
        return copy.deepcopy(wanted)
    return {**there, **{name: _merge_in(there.get(name), value) for name, value in wanted.items()}}


def _less(there: Resource, before: Resource, now: Resource) -> Resource:
    """Take away what was applied before and is not applied now."""
    for name, value in before.items():
        if name not in now:
            if isinstance(value, dict) and isinstance(there.get(name), dict):
                _less(there[name], value, {})
                if not there[name]:
                    del there[name]
            else:
                there.pop(name, None)
        elif isinstance(value, dict) and isinstance(now[name], dict) and isinstance(there.get(name), dict):
            _less(there[name], value, now[name])
    return there


def _selected(found: Resource, selector: str) -> bool:
    labels = found["metadata"].get("labels", {})
    for part in filter(None, selector.split(",")):
        name, _, value = part.partition("=")
        if (labels.get(name) != value) if value else (name not in labels):
            return False
    return True


def _fields(found: Resource, selector: str) -> bool:
    for part in filter(None, selector.split(",")):
        path, _, value = part.partition("=")
        node: Any = found
        for step in path.split("."):
            node = node.get(step, {}) if isinstance(node, dict) else {}
        if node != value:
            return False
    return True
