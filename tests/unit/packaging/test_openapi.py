"""The descriptions in docs/openapi say what the programs do: the same calls, the same documents."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
import yaml
from starlette.routing import Route
from starlette.types import ASGIApp

from hanas_core.epochs.arbitration import Arrival, Challenge, Place
from hanas_core.members.documents import Report
from hanas_overseer.documents import Alerts, Cluster, MainDocument, Pool, Takeovers
from hanas_serving import problems
from hanas_worker.faces.http.app import WorkerApplication
from hanas_worker.faces.http.kv import KeyValueEndpoint, Page
from hanas_worker.faces.http.requests import Headers
from hanas_worker.faces.http.rules import Rules
from hanas_worker.faces.http.status import Status
from hanas_worker.host import settings
from hanas_worker.log.driver import LogDriver
from hanas_worker.neighbours.keepalives import Heard, KeepAlive, LinkEndpoint
from tests.unit.overseer.stage import Stage, running
from tests.unit.packaging.documents import ROOT

Description = dict[str, Any]
NAMES = ["worker", "link", "overseer"]
_METHODS = {"get", "head", "put", "post", "delete"}
# What is narrower, or for people, is no drift.
_MORE = {"description", "example", "examples", "pattern", "minimum", "maximum", "minLength", "maxLength", "title"}


def description(name: str) -> Description:
    loaded: Description = yaml.safe_load((ROOT / "docs" / "openapi" / f"{name}.yaml").read_text())
    return loaded


def calls(described: Description) -> dict[str, set[str]]:
    """The methods of each path."""
    return {path: {name.upper() for name in item if name in _METHODS} for path, item in described["paths"].items()}


def operations(described: Description) -> Iterator[tuple[str, str, Description]]:
    for path, item in described["paths"].items():
        for method in sorted(_METHODS & set(item)):
            yield path, method, item[method]


def resolved(described: Description, node: Any) -> Any:
    """What a `$ref` points at; anything else as it is."""
    while isinstance(node, dict) and "$ref" in node:
        found: Any = described
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        node = found
    return node


def worker() -> WorkerApplication:
    return WorkerApplication(settings.read({"OVERSEER_IP": "localhost:4000", "WORKER_ID": "worker-1"}))


def routes(app: Any) -> dict[str, set[str]]:
    return {route.path: set(route.methods or ()) for route in app.routes if isinstance(route, Route)}


async def allowed(app: ASGIApp, path: str) -> set[str]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as http:
        answer = await http.request("TRACE", path)
    assert answer.status_code == 405
    return {name.strip() for name in answer.headers["allow"].split(",")}


@pytest.mark.parametrize("name", NAMES)
def test_each_reference_leads_somewhere_and_each_component_is_used(name: str) -> None:
    described = description(name)
    text = (ROOT / "docs" / "openapi" / f"{name}.yaml").read_text()
    referred = set(re.findall(r"#/components/(\w+)/(\w+)", text))
    there = {(kind, one) for kind, members in described["components"].items() for one in members}
    assert {each for each in there if each[0] != "securitySchemes"} == referred
    for schema in described["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", NAMES)
def test_each_call_has_a_name_and_its_errors_are_problems(name: str) -> None:
    described = description(name)
    identities = [operation["operationId"] for _, _, operation in operations(described)]
    assert len(identities) == len(set(identities))
    for path, method, operation in operations(described):
        for status, given in operation["responses"].items():
            answer = resolved(described, given)
            assert answer["description"]
            if int(status) >= 400 or status == "307":
                assert list(answer["content"]) == [problems.CONTENT_TYPE], (path, method, status)


def test_the_workers_routes_are_described() -> None:
    described = calls(description("worker"))
    assert {path: methods for path, methods in described.items() if not path.startswith("/v1/kv")} == routes(worker())


class Joined(Rules):
    """Lets everybody in: methods are looked at before the node is."""

    def admit(self, headers: Headers) -> LogDriver:
        return cast(LogDriver, None)


async def test_the_methods_of_keys_are_described() -> None:
    app = KeyValueEndpoint(Joined((), 1))
    described = calls(description("worker"))
    assert await allowed(app, "/v1/kv") == described["/v1/kv"]
    assert await allowed(app, "/v1/kv/key") == described["/v1/kv/{key}"]


async def test_the_calls_of_the_link_port_are_described() -> None:
    app = LinkEndpoint((), lambda: None, lambda keepalive: ())
    described = calls(description("link"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as http:
        for path in (*described, "/v1/kv", "/"):
            for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
                known = (await http.request(method, path)).status_code != 404
                assert known == (method in described.get(path, ())), (method, path)


async def test_the_overseers_routes_are_described(tmp_path: Path) -> None:
    async with running(Stage(tmp_path)) as overseer:
        assert calls(description("overseer")) == routes(overseer.app)


def plain(schema: Any, narrowed: dict[str, Any], *, answer: bool) -> Any:
    """A schema without what narrows it, or is for people. In an answer everything is always there."""
    if isinstance(schema, list):
        return [plain(one, narrowed, answer=answer) for one in schema]
    if not isinstance(schema, dict):
        return schema
    name = schema.get("$ref", "").rpartition("/")[2]
    if name in narrowed:
        return plain(narrowed[name], narrowed, answer=answer)
    found = {key: plain(value, narrowed, answer=answer) for key, value in schema.items() if key not in _MORE}
    if isinstance(schema.get("properties"), dict):
        found["properties"] = {name: plain(one, narrowed, answer=answer) for name, one in schema["properties"].items()}
        found["required"] = sorted(schema["properties"] if answer else schema["required"])
    if answer:
        found.pop("default", None)
    if isinstance(schema.get("enum"), list):
        found["enum"] = sorted(schema["enum"])
    if isinstance(schema.get("anyOf"), list):
        found["anyOf"] = sorted(found["anyOf"], key=str)
    return found


def without_raw(kind: type[Any]) -> type[Any]:
    """The same struct with any JSON where it keeps JSON as it came, for which msgspec has no schema."""
    fields = [
        (field.encode_name, Any, None) if field.type is msgspec.Raw else (field.encode_name, field.type)
        for field in msgspec.structs.fields(kind)
    ]
    return msgspec.defstruct(kind.__name__, fields)


def components(kinds: Iterable[type[Any]]) -> dict[str, Any]:
    made = [without_raw(kind) if kind is Challenge else kind for kind in kinds]
    _, schemas = msgspec.json.schema_components(made, ref_template="#/components/schemas/{name}")
    loaded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(schemas))
    return loaded


def differences(described: Any, typed: Any, place: str) -> Iterator[str]:
    """Say where a described schema is not that of its type; it may narrow strings to an enumeration."""
    if isinstance(described, dict) and isinstance(typed, dict):
        narrows = "enum" in described and typed.get("type") == "string" and "enum" not in typed
        for key in sorted({*described, *typed} - ({"enum"} if narrows else set())):
            yield from differences(described.get(key), typed.get(key), f"{place}.{key}")
    elif described != typed:
        yield f"{place}: described {described!r}, in the program {typed!r}"


@pytest.mark.parametrize(
    ("name", "kinds", "answer"),
    [
        ("worker", (Status, Page), True),
        ("link", (Heard,), True),
        ("link", (KeepAlive,), False),
        ("overseer", (Place, MainDocument, Cluster, Pool, Takeovers, Alerts), True),
        ("overseer", (Arrival, Challenge, Report), False),
    ],
)
def test_the_documents_are_those_of_the_program(name: str, kinds: tuple[type[Any], ...], answer: bool) -> None:
    described = description(name)["components"]["schemas"]
    typed = components(kinds)
    assert typed.keys() <= described.keys()
    narrowed = {kind: schema for kind, schema in described.items() if kind not in typed}
    found: list[str] = []
    for kind, schema in typed.items():
        wanted = plain(described[kind], narrowed, answer=answer)
        found += differences(wanted, plain(schema, {}, answer=answer), kind)
    assert not found, "\n".join(found)


def test_a_problem_is_as_described() -> None:
    made = msgspec.json.decode(problems.document(404, "there is no such key"))
    for name in NAMES:
        jsonschema.validate(made, description(name)["components"]["schemas"]["Problem"])
