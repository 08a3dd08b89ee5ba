"""The whole operator, kopf's watches and all, against an API server in memory; and its rights, against what it does."""

import asyncio
import base64
import contextlib
import importlib.util
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from hanas_operator import __main__ as program
from hanas_operator import connection, kinds, main_label, names, rbac, running, waits
from hanas_operator import settings as arguments
from hanas_operator.api import Api
from hanas_operator.followers import Followers
from hanas_operator.metrics import OperatorMetrics
from hanas_operator.objects import secret
from hanas_operator.reach import ProxiedReach
from hanas_operator.tls import cert_manager
from hanas_operator.view import TakeoverView
from hanas_operator.waits import Waits
from hanas_serving.settings import SettingError
from tests.unit.operator.api_server import ApiServer
from tests.unit.operator.fake_overseer import FakeOverseer
from tests.unit.operator.making import IMAGE, KEY, NAMESPACE, condition, failure, role, settle, status, view
from tests.unit.operator.waiting import until


def kubeconfig(folder: Path, url: str) -> str:
    file = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "t0ken"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    file.write_text(json.dumps(content))
    return str(file)


@asynccontextmanager
async def operating(server: ApiServer, folder: Path, *more: str) -> AsyncIterator[None]:
    given = ["--kubeconfig", kubeconfig(folder, server.url), "--image", IMAGE, "--port", "0", *more]
    begun: asyncio.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = asyncio.Future()
    here = asyncio.get_running_loop()

    async def operate() -> None:
        stopping = asyncio.Event()
        here.call_soon_threadsafe(begun.set_result, (asyncio.get_running_loop(), stopping))
        await running.operate(arguments.read(given, {}), stopping)

    # In a loop of its own: kopf, when it ends, ends everything else in its loop too.
    task = asyncio.create_task(asyncio.to_thread(asyncio.run, operate()))
    loop, stopping = await begun
    try:
        yield
    finally:
        if not task.done():
            loop.call_soon_threadsafe(stopping.set)
        await task


def is_settled(server: ApiServer) -> bool:
    return len(server.all(kinds.STATEFUL_SET)) == 1 and len(server.all(kinds.POLICY)) == 4


ENDED = {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}


async def run_a_life(server: ApiServer, overseer: FakeOverseer) -> float:
    """Let a cluster be made, fail over, be cut, healed and scaled; return how long the label of a new main took."""
    server.put(kinds.HANAS, *KEY, spec={"storage": {"storageClassName": "nfs"}})
    await until(lambda: is_settled(server))
    await until(lambda: bool(status(server)) and condition(server, "StorageReady")["reason"] == "ClassUnknown")
    await overseer.show(view())
    settle(server)
    await until(lambda: status(server)["main"] == "worker-0")
    await until(lambda: role(server, "worker-0") == "main")
    takeover = TakeoverView(epoch=2, member="worker-1", why="failure", words="it is silent")
    began = time.monotonic()
    await overseer.show(msgspec.structs.replace(view("worker-1", epoch=2), takeovers=(takeover,)))
    await until(lambda: role(server, "worker-1") == "main")
    took = time.monotonic() - began
    server.change(
        kinds.HANAS, *KEY, {"spec": {"linkFailures": [failure(duration="1s")], "workers": 4, "services": {"each": {}}}}
    )
    await until(lambda: len(status(server)["linkFailures"]) == 1)
    await until(lambda: status(server)["linkFailures"][0]["state"] == "Healed")
    wire = {"hanas": "demo", "source": "worker-1", "target": "worker-0", "duration": "1s"}
    server.put(kinds.LINK_FAILURE, NAMESPACE, "wire", spec=wire)
    await until(lambda: server.take(kinds.LINK_FAILURE, NAMESPACE, "wire").get("status", {}).get("state") == "Healed")
    server.change(
        kinds.HANAS,
        *KEY,
        {"spec": {"linkFailures": [], "workers": 2, "services": {"each": None}, "clientTokenSecret": {"name": "x"}}},
    )
    await until(lambda: "there is no Secret x" in condition(server, "Degraded")["message"])
    assert len(server.all(kinds.POLICY)) == 3
    server.change(kinds.POD, NAMESPACE, "demo-worker-1", {**ENDED, "spec": {"nodeName": "lost"}})
    await until(lambda: server.find(kinds.POD, NAMESPACE, "demo-worker-1") is None)
    settle(server)
    await until(lambda: role(server, "worker-1") == "main")
    server.change(kinds.HANAS, *KEY, {"metadata": {"annotations": {names.ROTATE: "now"}}})
    await until(lambda: status(server)["secret"]["stage"] == "BothAccepted")
    return took


async def back_up(server: ApiServer) -> None:
    """Let a schedule make a backup, and delete an older one; and have a snapshot made."""
    snapshot = {"hanas": "demo", "method": "VolumeSnapshot"}
    server.put(kinds.BACKUP, NAMESPACE, "snap", spec=snapshot)
    await until(lambda: server.find(kinds.SNAPSHOT, NAMESPACE, "snap") is not None)
    target = {"claim": {"name": "archives"}}
    for day in ("01", "02"):
        server.put(
            kinds.BACKUP,
            NAMESPACE,
            f"often-202501{day}0000",
            metadata={"labels": {names.SCHEDULE: "often"}},
            spec={"hanas": "demo"},
            status={"phase": "Completed"},
        )
    spec = {"schedule": "* * * * *", "keep": 1, "backup": {"hanas": "demo", "target": target}}
    server.put(kinds.SCHEDULED_BACKUP, NAMESPACE, "often", spec=spec)
    await until(lambda: server.find(kinds.BACKUP, NAMESPACE, "often-202501010000") is None)
    await until(lambda: bool(server.all(kinds.JOB)))
    often = (kinds.SCHEDULED_BACKUP, NAMESPACE, "often")
    await until(lambda: server.take(*often).get("status", {}).get("lastPhase") == "Running")


async def certify(server: ApiServer) -> None:
    """Let cert-manager be asked for certificates, and for other ones; then take one over from it."""
    spec = {"tls": {"mode": "CertManager", "issuerRef": {"name": "house"}}}
    server.put(kinds.HANAS, NAMESPACE, "sealed", spec=spec)
    await until(lambda: server.find(kinds.CERTIFICATE, NAMESPACE, "sealed-client-tls") is not None)
    server.change(kinds.HANAS, NAMESPACE, "sealed", {"spec": {"hosts": ["sealed.example.com"]}})
    sealed = (kinds.CERTIFICATE, NAMESPACE, "sealed-tls")
    await until(lambda: "sealed.example.com" in server.take(*sealed)["spec"]["dnsNames"])
    meta = {**server.take(*sealed)["spec"]["secretTemplate"], "annotations": {cert_manager.CERTIFICATE_NAME: sealed[2]}}
    server.put(kinds.SECRET, NAMESPACE, sealed[2], metadata=meta, data={})
    managed = {"spec": {"workers": 0, "tls": {"mode": "Managed", "issuerRef": None}}}
    server.change(kinds.HANAS, NAMESPACE, "sealed", managed)
    await until(lambda: server.find(*sealed) is None)


@pytest.mark.long
async def test_a_life_with_the_least_rights(server: ApiServer, overseer: FakeOverseer, tmp_path: Path) -> None:
    async with operating(server, tmp_path, "--lease", "system/operator"):
        took = await run_a_life(server, overseer)
        await back_up(server)
        await certify(server)
        overseer.answers = False
        await overseer.end_streams()
        await until(lambda: any(call.resource == "pods/proxy" for call in server.calls))
    assert took < 1.0
    # Outside the cluster, where this operator runs, overseers are reached through the API server.
    outside = {"apiGroups": [""], "resources": ["pods/proxy"], "verbs": ["get"]}
    rules = [*rbac.rules(), *rbac.cluster_rules(), *rbac.lease_rules("operator"), outside]
    done = {(call.verb, call.group, call.resource) for call in server.calls}
    allowed = {
        (verb, group, resource)
        for rule in rules
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert done - allowed == set(), "calls that RBAC would refuse"
    # What is applied is created by the same call, for which the API server wants the right to create.
    applied = {("create", kind.group, kind.plural) for kind in kinds.APPLIED}
    assert allowed - done - applied == set(), "rights that nothing needs"


async def test_it_leaves_no_traces_in_resources(server: ApiServer, overseer: FakeOverseer, tmp_path: Path) -> None:
    async with operating(server, tmp_path):
        await run_a_life(server, overseer)
        await back_up(server)
    for kind in (kinds.HANAS, kinds.LINK_FAILURE, kinds.BACKUP, kinds.SCHEDULED_BACKUP, kinds.POD, *kinds.APPLIED):
        for found in server.all(kind):
            assert "finalizers" not in found["metadata"]
            assert not [name for name in found["metadata"].get("annotations", {}) if "kopf" in name]
    assert not [call for call in server.writes() if call.resource in {"hanases", "hanaslinkfailures"}]


async def test_it_only_watches_what_is_its_own(server: ApiServer, tmp_path: Path) -> None:
    async with operating(server, tmp_path):
        await until(lambda: len({call.resource for call in server.calls if call.verb == "watch"}) == 12)
    assert server.queries["watch", "pods"]["labelSelector"] == names.SELECT_MANAGED
    assert "labelSelector" not in server.queries["watch", "hanases"]


async def test_a_namespaced_operator_never_looks_beyond_its_namespaces(
    server: ApiServer, overseer: FakeOverseer, tmp_path: Path
) -> None:
    other = server.put(kinds.HANAS, "other", "demo", spec={})
    async with operating(server, tmp_path, "--namespace", NAMESPACE):
        await run_a_life(server, overseer)
        await back_up(server)
    beyond = {(call.verb, call.resource) for call in server.calls if call.namespace != NAMESPACE}
    assert beyond == {("get", "storageclasses"), ("get", "nodes")}
    assert server.take(kinds.HANAS, "other", "demo") == other


async def test_a_restarted_operator_goes_on_where_it_was(
    server: ApiServer, overseer: FakeOverseer, tmp_path: Path
) -> None:
    async with operating(server, tmp_path):
        await run_a_life(server, overseer)
    count = len(server.writes())
    server.put(kinds.SECRET, NAMESPACE, "x", data={"tokens": "eA=="})
    server.remove(kinds.SERVICE, NAMESPACE, "demo-main")
    async with operating(server, tmp_path):
        await until(lambda: server.find(kinds.SERVICE, NAMESPACE, "demo-main") is not None)
        await until(lambda: "x" not in condition(server, "Degraded")["message"])
    assert {call.resource for call in server.writes()[count:]} <= {"services", "hanases/status", "events", "leases"}


async def test_of_two_operators_one_reconciles_and_both_label(
    server: ApiServer, overseer: FakeOverseer, tmp_path: Path
) -> None:
    ports, lease = (_free_port(), _free_port()), ("--lease", "system/operator")
    async with aiohttp.ClientSession() as session, contextlib.AsyncExitStack() as second:

        async def leading() -> list[bool]:
            texts = [await (await session.get(f"http://localhost:{port}/metrics")).text() for port in ports]
            return ["hanas_operator_leading 1.0" in text for text in texts]

        async with operating(server, tmp_path, *lease, "--port", str(ports[0])):
            await until(lambda: server.find(kinds.LEASE, "system", "operator") is not None)
            await second.enter_async_context(operating(server, tmp_path, *lease, "--port", str(ports[1])))
            await run_a_life(server, overseer)
            await until(lambda: len(overseer.listeners) == 4)
            assert await leading() == [True, False]
            server.refusals["get", "hanases"] = (500, "both would reconcile")
            await overseer.show(view("worker-0", epoch=3))
            await until(lambda: role(server, "worker-0") == "main")
            server.refusals.clear()
        server.remove(kinds.SERVICE, NAMESPACE, "demo-main")
        await until(lambda: server.find(kinds.SERVICE, NAMESPACE, "demo-main") is not None)


async def test_probes_and_metrics(server: ApiServer, overseer: FakeOverseer, tmp_path: Path) -> None:
    port = _free_port()
    async with operating(server, tmp_path, "--port", str(port)), aiohttp.ClientSession() as session:
        await run_a_life(server, overseer)
        async with session.get(f"http://localhost:{port}/healthz") as response:
            assert (response.status, await response.text()) == (200, "ok\n")
        async with session.get(f"http://localhost:{port}/metrics") as response:
            text = await response.text()
    assert 'hanas_operator_reconciles_total{result="done"}' in text
    assert 'hanas_operator_epoch{name="demo",namespace="shop"} 2.0' in text
    assert 'hanas_operator_condition{name="demo",namespace="shop",type="Ready"}' in text


def _free_port() -> int:
    import socket  # noqa: PLC0415 - here alone

    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "API", Waits(last=0.05))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("status_code", [500, 429])
async def test_an_api_server_that_fails_at_first_is_awaited(
    server: ApiServer, tmp_path: Path, status_code: int
) -> None:
    server.down = status_code
    server.put(kinds.HANAS, *KEY, spec={})
    async with operating(server, tmp_path):
        await until(lambda: server.failed > 5)
        server.down = 0
        await until(lambda: is_settled(server))


@pytest.mark.usefixtures("quick")
@pytest.mark.long
async def test_an_api_server_that_fails_for_long_ends_nothing(
    server: ApiServer, overseer: FakeOverseer, tmp_path: Path
) -> None:
    server.put(kinds.HANAS, *KEY, spec={})
    async with operating(server, tmp_path):
        await until(lambda: is_settled(server))
        settle(server)
        server.break_watches()
        server.down = 503
        await until(lambda: server.failed > 100)
        server.down = 0
        server.put(kinds.HANAS, NAMESPACE, "another", spec={})
        await until(lambda: server.find(kinds.STATEFUL_SET, NAMESPACE, "another-worker") is not None, 60.0)
        await overseer.show(view("worker-0", epoch=3))
        await until(lambda: role(server, "worker-0") == "main")


async def test_a_stop_ends_the_wait_for_an_api_server(server: ApiServer, tmp_path: Path) -> None:
    server.down = 500
    async with operating(server, tmp_path):
        await until(lambda: server.failed > 0)


def test_the_waits_grow_and_never_end() -> None:
    for _ in range(2):
        seconds = list(itertools.islice(waits.API, 100))
        assert seconds == sorted(seconds)
        assert (seconds[0], seconds[-1]) == (1.0, 20.0)


async def test_lists_come_from_the_cache_of_the_api_server(server: ApiServer, tmp_path: Path) -> None:
    server.put(kinds.HANAS, *KEY, spec={})
    async with operating(server, tmp_path):
        await until(lambda: is_settled(server))
    lists = {resource: query for (verb, resource), query in server.queries.items() if verb == "list"}
    from_cache = {resource for resource, query in lists.items() if query.get("resourceVersion") == "0"}
    assert from_cache == {kind.plural for kind in (kinds.HANAS, kinds.LINK_FAILURE, *kinds.WATCHED)}


MANY = 150


async def test_many_clusters_each_get_a_main(server: ApiServer, overseer: FakeOverseer, tmp_path: Path) -> None:
    """Each overseer keeps a stream: no pool of connections may run out."""
    await overseer.show(view())
    clusters = [("shop", f"c{number}") for number in range(MANY)]
    token = {secret.KEY: base64.b64encode(b"t").decode()}
    for namespace, name in clusters:
        server.put(kinds.SECRET, namespace, names.of(name, names.SECRET), data=token)
        for part, component in (("worker-0", names.WORKER), ("overseer-0", names.OVERSEER)):
            labels = names.labels(name, component)
            server.put(kinds.POD, namespace, names.of(name, part), metadata={"labels": labels}, status={})
    given = arguments.read(["--kubeconfig", kubeconfig(tmp_path, server.url)], {})
    async with connection.connect(given) as client:
        api = Api(client)
        followers = Followers(api, ProxiedReach(api), OperatorMetrics(), lambda _: None)
        for key in clusters:
            await followers.attend(key)
        await until(lambda: len(overseer.listeners) == MANY, 60.0)
        await until(lambda: [main_label.role(pod) for pod in server.all(kinds.POD)].count("main") == MANY)
        await followers.close()


@pytest.mark.parametrize(
    ("status_code", "told"),
    [
        (404, "install the CustomResourceDefinition hanases.hanas.dev first"),
        (403, "refuses this account"),
    ],
)
async def test_what_keeps_it_from_starting_is_told(
    server: ApiServer, tmp_path: Path, status_code: int, told: str
) -> None:
    server.refusals["list", "hanases"] = (status_code, "boom")
    with pytest.raises(SettingError, match=told):
        async with operating(server, tmp_path):
            pass


@pytest.mark.parametrize("content", [None, "no: yes", "{{{", "clusters: 7\ncontexts: 8\ncurrent-context: x"])
async def test_a_kubeconfig_that_cannot_be_used(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "config"
    if content is not None:
        file.write_text(content)
    wanted = arguments.read(["--kubeconfig", str(file)], {})
    with pytest.raises(SettingError, match="--kubeconfig"):
        async with connection.connect(wanted):
            pass


def run(monkeypatch: pytest.MonkeyPatch, *given: str) -> int:
    monkeypatch.setattr(sys, "argv", ["hanas-operator", *given])
    try:
        return program.main()
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        (["--kubeconfig", "/nowhere"], 1, "hanas-operator: the configuration in /nowhere cannot be used"),
        (["--port", "x"], 2, "'x' is no port number"),
        (["--overseer-access", "magic"], 2, "invalid choice"),
        (["--lease", "operator"], 2, "'operator' is no NAMESPACE/NAME"),
        (["--help"], 0, "--kubeconfig FILE"),
        (["--version"], 0, "hanas-operator "),
    ],
)
def test_people_get_a_line_and_no_traceback(
    given: list[str], code: int, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *given) == code
    written = "".join(capsys.readouterr())
    assert told in written
    assert "Traceback" not in written


def test_the_operator_names_the_extra_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "kopf" else object())
    assert run(monkeypatch) == 1
    assert capsys.readouterr().err == "hanas-operator: needs kopf; install with: pip install 'hanas[operator]'\n"


def test_settings() -> None:
    environment: dict[str, Any] = {"HANAS_IMAGE": "hanas:env", "PORT": "9000"}
    found = arguments.read(["-n", "a", "-n", "b", "-n", "a", "--overseer-access", "direct"], environment)
    assert (found.namespaces, found.image, found.port, found.proxied) == (("a", "b"), "hanas:env", 9000, False)
    assert (arguments.read([], {}).proxied, arguments.read([], {}).lease) == (None, None)
    assert arguments.read([], {"HANAS_LEASE": "system/operator"}).lease == ("system", "operator")


async def test_with_the_rights_of_an_earlier_version_everything_else_is_done(server: ApiServer, tmp_path: Path) -> None:
    for verb in ("list", "watch"):
        server.refusals[verb, "hanaslinkfailures"] = (403, "not yours")
    server.put(kinds.HANAS, *KEY, spec={})
    async with operating(server, tmp_path):
        await until(lambda: is_settled(server))
        await until(lambda: bool(status(server)))
        server.put(kinds.HANAS, NAMESPACE, "another", spec={})
        await until(lambda: server.find(kinds.STATEFUL_SET, NAMESPACE, "another-worker") is not None, 30.0)
    assert "HANasLinkFailure resources cannot be read" in condition(server, "Degraded")["message"]
