"""`kubectl hanas`, with a program in kubectl's place and an overseer behind its forwarded port."""

import base64
import json
import shlex
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hanas_client.kubectl import changes, program, resources
from hanas_operator import crd, names
from hanas_serving.tls_files import listening
from tests.unit.client import fake_kubectl
from tests.unit.client.fake_cluster import FakeCluster, running
from tests.unit.tls.pki import Authority

Capture = pytest.CaptureFixture[str]
CONDITIONS = [
    {"type": "Ready", "status": "True", "reason": "MainServing", "message": "worker-1 serves"},
    {"type": "Degraded", "status": "False", "reason": "AsWanted", "message": "everything is as it should be"},
]


def hanas(name: str = "demo", **spec: Any) -> dict[str, Any]:
    status = {"conditions": CONDITIONS, "main": "worker-1", "epoch": 3, "readyWorkers": 3, "image": "hanas:1"}
    metadata = {"name": name, "namespace": "there", "generation": 2}
    return {"kind": "HANas", "metadata": metadata, "spec": {"workers": 3, **spec}, "status": status}


TARGET = {"claim": {"name": "archives"}}


class World:
    """What kubectl finds."""

    def __init__(self, file: Path, port: int) -> None:
        self.file = file
        self.put(
            objects={
                resources.HANAS: {"demo": hanas(backupTarget=TARGET)},
                "secret": {}, changes.LINK_FAILURES: {}, changes.BACKUPS: {},
            },
            refuses={}, answer={"state": "Done"}, port=port, calls=[],
        )  # fmt: skip

    def put(self, **content: Any) -> None:
        self.file.write_text(json.dumps({**(self.all() if self.file.exists() else {}), **content}))

    def all(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.file.read_text())
        return loaded

    def keep(self, kind: str, *objects: dict[str, Any]) -> None:
        self.put(objects={**self.all()["objects"], kind: {one["metadata"]["name"]: one for one in objects}})

    def of(self, kind: str) -> dict[str, Any]:
        found: dict[str, Any] = self.all()["objects"][kind]
        return found


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with running() as cluster:
        yield cluster


@pytest.fixture
def world(cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    command = tmp_path / "bin/kubectl"
    command.parent.mkdir()
    line = shlex.join([sys.executable, "-I", str(Path(fake_kubectl.__file__)), str(tmp_path / "world.json")])
    # exec: the end of the command is the end of what it starts.
    command.write_text(f'#!/bin/sh\nexec {line} "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    monkeypatch.setattr(changes, "_LOOK_SECONDS", 0.01)
    return World(tmp_path / "world.json", cluster.server_address[1])


def said(capsys: Capture, arguments: str, code: int = 0) -> str:
    """What is printed: to standard output, or for an error one line to standard error."""
    assert program.main(shlex.split(arguments)) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    if code == 0:
        assert not captured.err
        return captured.out
    assert captured.err.splitlines()[-1].startswith("kubectl hanas")
    return captured.err


def test_the_names_are_those_of_the_definition() -> None:
    assert resources.HANAS == crd.NAME
    assert resources.API_VERSION == crd.API_VERSION
    assert names.OVERSEER_PORT == resources._OVERSEER_PORT


def test_status_shows_what_the_operator_and_an_overseer_say(world: World, capsys: Capture) -> None:
    lines = said(capsys, "status").splitlines()
    assert lines[0] == "there/demo: main worker-1, epoch 3, 3 of 3 workers ready, image hanas:1"
    assert "Ready\tTrue\tMainServing\tworker-1 serves" in lines
    assert "epoch 3, main worker-1 (serving)" in lines
    assert any(line.startswith("worker-1\tmain\t") for line in lines)
    assert "link worker-1 → worker-2 failed for 3 s" in lines


def test_status_as_json(world: World, capsys: Capture) -> None:
    told = json.loads(said(capsys, "status --json --cluster demo"))
    assert told["hanas"]["status"]["conditions"] == CONDITIONS
    assert told["cluster"]["main"]["member"] == "worker-1"


def test_status_shows_the_conditions_without_an_overseer_too(world: World, capsys: Capture) -> None:
    world.put(refuses={"port-forward": "error: timed out waiting for the condition"})
    assert program.main(["status"]) == 1
    captured = capsys.readouterr()
    assert "MainServing" in captured.out
    assert captured.err == (
        "kubectl hanas: no view of an overseer: service/demo-overseer cannot be reached: "
        "timed out waiting for the condition\n"
    )
    assert program.main(["status", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["cluster"] is None


def test_status_of_a_hanas_that_no_operator_has_seen(world: World, capsys: Capture) -> None:
    world.keep(resources.HANAS, {**hanas(), "status": {"observedGeneration": -1}})
    assert "there/demo: no operator has looked at it yet" in said(capsys, "status")


def test_status_shows_link_failures(world: World, capsys: Capture) -> None:
    made = hanas()
    made["status"]["linkFailures"] = [{"name": "wire", "state": "Active", "observed": "LinkFailed", "cut": "a <-> b"}]
    world.keep(resources.HANAS, made)
    assert "wire\tActive\tLinkFailed\ta <-> b\t–" in said(capsys, "status").splitlines()


def test_takeovers_with_reason_and_evidence(world: World, capsys: Capture) -> None:
    told = said(capsys, "takeovers")
    assert "no answer to the probe" in told
    assert "evidence for epoch 3:" in told
    assert "sent: 1.5" in told
    assert "evidence" not in said(capsys, "takeovers --brief")
    assert json.loads(said(capsys, "takeovers --json"))["takeovers"][0]["evidence"] == {"probe": {"sent": 1.5}}


def test_which_cluster_and_namespace_is_kubectls_matter(world: World, capsys: Capture) -> None:
    said(capsys, "status -c demo -n elsewhere --context test --kubeconfig /etc/it")
    given = ["--kubeconfig=/etc/it", "--context=test", "--namespace=elsewhere"]
    calls = world.all()["calls"]
    assert [call[:3] for call in calls] == [given] * len(calls)
    assert ["get", resources.HANAS, "demo", "--output=json"] in [call[-4:] for call in calls]


def test_a_token_comes_from_the_secret_of_the_resource_or_from_a_file(
    world: World, cluster: FakeCluster, capsys: Capture, tmp_path: Path
) -> None:
    world.keep(resources.HANAS, hanas(clientTokenSecret={"name": "tokens", "key": "all"}))
    content = base64.b64encode(b"first\nsecond\n").decode()
    world.keep("secret", {"metadata": {"name": "tokens"}, "data": {"all": content}})
    said(capsys, "takeovers")
    assert cluster.requests[-1][2]["authorization"] == "Bearer first"
    (tmp_path / "token").write_text("mine\n")
    world.keep("secret")
    said(capsys, f"takeovers --token-file {tmp_path}/token")
    assert cluster.requests[-1][2]["authorization"] == "Bearer mine"
    message = said(capsys, "takeovers", 1)
    assert 'no token of clients from the Secret tokens: (NotFound): secret "tokens" not found' in message
    assert "--token-file" in message


@pytest.mark.parametrize("data", [{}, {"all": ""}, {"all": "no base64"}, {"other": "Zmlyc3Q="}])
def test_a_secret_without_a_token(world: World, capsys: Capture, data: dict[str, str]) -> None:
    world.keep(resources.HANAS, hanas(clientTokenSecret={"name": "tokens", "key": "all"}))
    world.keep("secret", {"metadata": {"name": "tokens"}, "data": data})
    assert "--token-file" in said(capsys, "takeovers", 1)


@pytest.mark.long
def test_an_overseer_that_speaks_tls_is_verified(
    world: World, cluster: FakeCluster, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    cluster.handle_error = lambda *_: None  # type: ignore[method-assign]
    cluster.socket = listening(authority.files("overseer"), ssl.CERT_NONE).wrap_socket(cluster.socket, server_side=True)
    assert "PrimaryFailed" in said(capsys, f"takeovers --cacert {authority.trust}")
    monkeypatch.setenv("HANAS_TLS_CA", str(authority.trust))
    assert "PrimaryFailed" in said(capsys, "takeovers")
    other = Authority(tmp_path, "other")
    assert "certificate" in said(capsys, f"takeovers --cacert {other.trust}", 1)
    assert "the file cannot be read" in said(capsys, f"takeovers --cacert {tmp_path}/none", 2)


MANAGED, MINE = {"mode": "Managed"}, {"mode": "SecretRefs", "secretName": "mine"}


@pytest.mark.parametrize(("spec", "name"), [(MANAGED, "demo-tls"), (MINE, "mine")])
def test_the_certificate_of_the_pods_is_shown(
    world: World, cluster: FakeCluster, capsys: Capture, tmp_path: Path, spec: dict[str, str], name: str
) -> None:
    authority = Authority(tmp_path)
    files = authority.files("overseer", certified=True)
    cluster.handle_error = lambda *_: None  # type: ignore[method-assign]
    cluster.socket = listening(files, ssl.CERT_REQUIRED).wrap_socket(cluster.socket, server_side=True)
    world.keep(resources.HANAS, hanas(tls=spec))
    message = said(capsys, "takeovers", 1)
    assert f'no certificate from the Secret {name}: (NotFound): secret "{name}" not found; name your own' in message
    world.keep("secret", {"metadata": {"name": name}, "data": {}})
    assert f"no certificate from the Secret {name}: no ca.crt; name your own with --cacert" in said(
        capsys, "takeovers", 1
    )
    certificate, key = authority.component("demo", "localhost")
    contents = {"ca.crt": authority.trust, "tls.crt": certificate, "tls.key": key}
    data = {file: base64.b64encode(path.read_bytes()).decode() for file, path in contents.items()}
    world.keep("secret", {"metadata": {"name": name}, "data": data})
    assert "PrimaryFailed" in said(capsys, "takeovers")
    world.keep("secret")
    own = f"--cacert {authority.trust} --cert {certificate} --key {key}"
    assert "PrimaryFailed" in said(capsys, f"takeovers {own}")


def test_switchover_asks_by_an_annotation_and_waits(world: World, capsys: Capture) -> None:
    assert said(capsys, "switchover worker-2") == "worker-2 is the main of demo now, after worker-1\n"
    assert world.of(resources.HANAS)["demo"]["metadata"]["annotations"] == {changes.SWITCHOVER: "worker-2"}
    assert said(capsys, "switchover worker-2") == "worker-2 is the main already\n"


def test_a_second_switchover_to_the_same_worker(world: World, capsys: Capture) -> None:
    made = hanas()
    made["metadata"]["annotations"] = {changes.SWITCHOVER: "worker-2"}
    made["status"]["switchover"] = {"state": "Done", "to": "worker-2"}
    world.keep(resources.HANAS, made)
    assert "worker-2 is the main of demo now" in said(capsys, "switchover worker-2")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"state": "Refused", "message": "it is far behind"}, "the switchover was refused: it is far behind"),
        ({"state": "Pending", "message": "no main"}, "not done in time (Pending: no main); to take it back: kubectl a"),
        ({}, "not done in time (no operator has looked at it)"),
    ],
)
def test_a_switchover_that_does_not_come(world: World, capsys: Capture, answer: dict[str, str], words: str) -> None:
    world.put(answer=answer)
    assert words in said(capsys, "switchover worker-2 --timeout 0.05", 1)


def test_a_switchover_to_nobody(world: World, capsys: Capture) -> None:
    message = said(capsys, "switchover worker-3", 1)
    assert message == "kubectl hanas: demo has no worker 'worker-3'; its workers are worker-0 to worker-2\n"
    world.keep(resources.HANAS, hanas(workers=0))
    assert "it hibernates" in said(capsys, "switchover worker-3", 1)


def test_cut_and_heal(world: World, capsys: Capture) -> None:
    told = said(capsys, "cut worker-0 worker-1 --for 30s")
    assert told == "link worker-0 ↔ worker-1: cut for 30s (HANasLinkFailure demo-x1)\n"
    (made,) = world.of(changes.LINK_FAILURES).values()
    assert made["spec"] == {
        "hanas": "demo", "source": "worker-0", "target": "worker-1", "direction": "both", "planes": ["link"],
        "duration": "30s",
    }  # fmt: skip
    assert "no link failure between worker-0 and worker-2" in said(capsys, "heal worker-0 worker-2", 1)
    assert said(capsys, "heal worker-1 worker-0") == "healed: demo-x1\n"
    assert world.of(changes.LINK_FAILURES) == {}
    assert said(capsys, "heal --all") == "healed: there was nothing to heal\n"


def test_cut_one_way_and_for_clients_too(world: World, capsys: Capture) -> None:
    told = json.loads(said(capsys, "cut worker-0 '*' --one-way --clients --json"))
    assert told == {
        "linkFailure": "demo-x1", "hanas": "demo", "source": "worker-0", "target": "*", "direction": "to",
        "planes": ["link", "client"], "duration": "1m",
    }  # fmt: skip


def test_heal_leaves_other_clusters_alone_and_names_what_the_spec_has(world: World, capsys: Capture) -> None:
    said(capsys, "cut worker-0 worker-1")
    entry = {"name": "wire", "source": "worker-0", "target": "worker-1"}
    world.keep(resources.HANAS, hanas(linkFailures=[entry]), hanas("other"))
    assert said(capsys, "heal --all -c other") == "healed: there was nothing to heal\n"
    assert "the spec of demo has the link failures wire" in said(capsys, "heal worker-0 worker-1 -c demo", 1)
    assert world.of(changes.LINK_FAILURES) == {}


def test_backup(world: World, capsys: Capture) -> None:
    world.put(answer={"phase": "Completed", "file": "demo.hanas", "keys": 3, "size": 120, "revision": 7})
    assert said(capsys, "backup") == "HANasBackup demo-x1: 3 keys, 120 bytes, revision 7, demo.hanas\n"
    assert world.of(changes.BACKUPS)["demo-x1"]["spec"] == {"hanas": "demo"}
    assert said(capsys, "backup --no-wait") == "HANasBackup demo-x1 is being made\n"


def test_a_backup_needs_a_place(world: World, capsys: Capture) -> None:
    world.keep(resources.HANAS, hanas())
    assert "demo names no place for archives: set its spec.backupTarget" in said(capsys, "backup", 1)
    assert world.of(changes.BACKUPS) == {}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"phase": "Failed", "message": "no target"}, "HANasBackup demo-x1 failed: no target"),
        ({"phase": "Running"}, "not done in time (Running); it goes on; to see it: kubectl get hanasbackup demo-x1"),
    ],
)
def test_a_backup_that_is_not_made(world: World, capsys: Capture, answer: dict[str, str], words: str) -> None:
    world.put(answer=answer)
    assert words in said(capsys, "backup --timeout 0.05", 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("status", "there are several in this namespace; name one with --cluster: demo, other"),
        ("status --cluster nobody", f'(NotFound): {resources.HANAS} "nobody" not found'),
        ("backup --cluster demo", "the operator is not installed in this cluster, or an older one"),
    ],
)
def test_errors_say_what_to_do(world: World, capsys: Capture, arguments: str, words: str) -> None:
    world.keep(resources.HANAS, hanas(backupTarget=TARGET), hanas("other"))
    world.put(refuses={"create": f'error: the server doesn\'t have a resource type "{changes.BACKUPS}"'})
    assert words in said(capsys, arguments, 1)


def test_a_namespace_without_a_hanas(world: World, capsys: Capture) -> None:
    world.keep(resources.HANAS)
    assert "there is no HANas in this namespace" in said(capsys, "takeovers", 1)


def test_without_kubectl(capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert said(capsys, "status", 1).startswith("kubectl hanas: kubectl is not in PATH")


@pytest.mark.parametrize(
    "arguments", ["", "nonsense", "switchover", "cut worker-0", "heal worker-0", "switchover worker-1 --timeout 0"]
)
def test_usage_errors_exit_with_2(world: World, capsys: Capture, arguments: str) -> None:
    assert said(capsys, arguments, 2)


@pytest.mark.parametrize("command", ["", "status", "takeovers", "switchover", "cut", "heal", "backup"])
def test_help(capsys: Capture, command: str) -> None:
    assert "usage: kubectl hanas" in said(capsys, f"{command} --help")
