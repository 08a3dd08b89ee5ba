"""The descriptions in docs/openapi say what the programs do: the same calls, the same documents."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest
import yaml
from docs.openapi import generate
from starlette.routing import Route
from starlette.types import ASGIApp

from hanas_overseer.documents import MemberEntry
from hanas_serving import problems
from hanas_serving.budget import Budget
from hanas_serving.callers import Callers
from hanas_serving.credentials import Credentials
from hanas_serving.gate import Caller, Gate
from hanas_serving.principals import Action
from hanas_serving.problems import Problem
from hanas_worker.faces.http.endpoint import KeysEndpoint
from hanas_worker.faces.http.keys import Admitted, Keys
from hanas_worker.host import settings
from hanas_worker.neighbours.keepalives import LinkEndpoint
from hanas_worker.ops.app import WorkerApplication
from hanas_worker.store import Store
from tests.unit.overseer.stage import Stage, running

Description = dict[str, Any]
NAMES = list(generate.ANSWERS)
_METHODS = {"get", "head", "put", "post", "delete"}


def description(name: str) -> Description:
    loaded: Description = yaml.safe_load((generate.FOLDER / f"{name}.yaml").read_text())
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
    values = settings.read({"OVERSEER_IP": "localhost:4000", "WORKER_ID": "worker-1"})
    return WorkerApplication(values, Credentials({}, (), ()), Gate())


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
    text = (generate.FOLDER / f"{name}.yaml").read_text()
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
    of_keys = ("/v1/kv", "/v1/txn", "/v1/watch", "/v1/leases")
    others = {path: methods for path, methods in described.items() if not path.startswith(of_keys)}
    assert others == routes(worker())


class Joined(Keys):
    """Lets everybody in: methods are looked at before the store is."""

    def admit(self, caller: Caller, action: Action, content: bytes) -> Admitted:
        return Admitted(self.callers.stranger, caller)

    def joined(self) -> Store:
        return cast(Store, None)


async def test_the_methods_of_keys_are_described() -> None:
    app = KeysEndpoint(Joined(Callers(), 1, Gate()), Budget())
    described = calls(description("worker"))
    assert await allowed(app, "/v1/kv") == described["/v1/kv"]
    assert await allowed(app, "/v1/kv/key") == described["/v1/kv/{key}"]
    assert await allowed(app, "/v1/txn") == described["/v1/txn"]
    assert await allowed(app, "/v1/watch") == described["/v1/watch"]
    assert await allowed(app, "/v1/leases") == described["/v1/leases"]
    assert await allowed(app, "/v1/leases/7/keepalive") == described["/v1/leases/{id}/keepalive"]
    assert await allowed(app, "/v1/leases/7") == described["/v1/leases/{id}"] | {"HEAD"}


async def test_the_calls_of_the_link_port_are_described() -> None:
    app = LinkEndpoint(Callers(), Gate())
    described = calls(description("link"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as http:
        for path in (*described, "/v1/kv", "/"):
            for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
                known = (await http.request(method, path)).status_code != 404
                assert known == (method in described.get(path, ())), (method, path)


async def test_the_overseers_routes_are_described(tmp_path: Path) -> None:
    async with running(Stage(tmp_path)) as overseer:
        assert calls(description("overseer")) == routes(overseer.app)


@pytest.mark.parametrize("name", NAMES)
def test_the_documents_are_those_of_the_program(name: str) -> None:
    assert (generate.FOLDER / f"{name}.yaml").read_text() == generate.rendered(name), "run: make openapi"


def test_each_bound_is_of_a_schema_that_there_is() -> None:
    assert generate.BOUNDS.keys() <= {kind for name in NAMES for kind in generate.schemas(name)}


def test_in_an_answer_all_fields_are_always_there() -> None:
    entry = generate.schemas("overseer")["MemberEntry"]
    assert entry["required"] == [field.encode_name for field in msgspec.structs.fields(MemberEntry)]
    assert not [name for name, schema in entry["properties"].items() if "default" in schema]


def test_the_docstrings_describe_classes_and_fields() -> None:
    entry = generate.schemas("overseer")["MemberEntry"]
    assert entry["description"] == (MemberEntry.__doc__ or "")
    assert "null" in entry["properties"]["seenSecondsAgo"]["description"]


def test_a_problem_is_as_described() -> None:
    made = msgspec.json.decode(Problem(404, "there is no such key").answer().body)
    for name in NAMES:
        jsonschema.validate(made, description(name)["components"]["schemas"]["Problem"])
