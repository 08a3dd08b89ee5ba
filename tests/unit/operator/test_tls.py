"""TLS of a HANas: what the pods get, who makes the certificates, and what is told when they cannot be used."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hanas_operator import kinds, names
from hanas_operator.objects import workloads
from hanas_operator.tls import inspecting, naming, secrets
from hanas_serving import certificates
from hanas_serving.certificates import Pair
from tests.unit.operator.api_server import Resource
from tests.unit.operator.conftest import Bench
from tests.unit.operator.making import KEY, NAMESPACE, condition, owner, settle, status, view

MANAGED = {"tls": {"mode": "Managed"}}
MINE = {"tls": {"mode": "SecretRefs", "secretName": "mine"}}
ISSUED = {"tls": {"mode": "CertManager", "issuerRef": {"name": "house"}}}
NOW = datetime.now(UTC)
AUTHORITY = certificates.authority("tests", NOW)


def held(bench: Bench, name: str) -> dict[str, bytes]:
    """Return what a Secret holds."""
    found = bench.server.take(kinds.SECRET, NAMESPACE, name)["data"]
    return {key: base64.b64decode(value) for key, value in found.items()}


def put(bench: Bench, name: str, **content: bytes) -> None:
    """Write a Secret, as somebody else would."""
    data = {key.replace("_", "."): base64.b64encode(value).decode() for key, value in content.items()}
    bench.server.put(kinds.SECRET, NAMESPACE, name, data=data)


def good(*more: str, days: float = 30) -> dict[str, bytes]:
    hosts = (*naming.needed(owner(MINE)), *more)
    made = certificates.component(AUTHORITY, "demo", hosts, NOW, days)
    return {"tls_crt": made.certificate, "tls_key": made.key, "ca_crt": AUTHORITY.certificate}


def degraded(bench: Bench) -> str:
    return str(condition(bench.server, "Degraded")["message"])


def has_pods(bench: Bench) -> bool:
    return bool(bench.server.all(kinds.STATEFUL_SET))


# ---------------------------------------------------------------------- what the pods get


def templates(spec: dict[str, Any]) -> list[Resource]:
    return [one["spec"]["template"] for one in workloads.workloads(owner(spec))]


@pytest.mark.parametrize(("spec", "secret"), [(MANAGED, "demo-tls"), (MINE, "mine"), (ISSUED, "demo-tls")])
def test_all_pods_speak_tls_and_know_each_other_by_it(spec: dict[str, Any], secret: str) -> None:
    for template in templates(spec):
        assert template["metadata"]["annotations"][names.TLS] == secret
        [container] = template["spec"]["containers"]
        variables = {one["name"]: one.get("value", "") for one in container["env"]}
        assert {name: value for name, value in variables.items() if "_TLS_" in name} == {
            "HANAS_TLS_CERT": "/etc/hanas/tls/tls.crt",
            "HANAS_TLS_KEY": "/etc/hanas/tls/tls.key",
            "HANAS_TLS_CA": "/etc/hanas/tls/ca.crt",
            "HANAS_TLS_CLIENT_CA": "/etc/hanas/tls/ca.crt",
        }
        assert {"name": "tls", "mountPath": "/etc/hanas/tls", "readOnly": True} in container["volumeMounts"]
        assert {"name": "tls", "secret": {"secretName": secret, "defaultMode": 0o440}} in template["spec"]["volumes"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["scheme"] == "HTTPS"
    workers = {one["name"]: one.get("value", "") for one in templates(spec)[1]["spec"]["containers"][0]["env"]}
    for name in ("OVERSEER_IP", "LINK_URL", "ADVERTISE_URL"):
        assert workers[name].startswith("https://"), name


def test_without_tls_nothing_speaks_of_it() -> None:
    assert "TLS" not in str(templates({}))
    assert "https" not in str(templates({}))


def test_rights_of_clients_are_for_all_and_keys_of_the_volume_for_workers() -> None:
    spec = {"clientRightsSecret": {"name": "rights"}, "encryption": {"secretName": "keys", "key": "file"}}
    for template, encrypted in zip(templates(spec), (False, True), strict=True):
        [container] = template["spec"]["containers"]
        variables = {one["name"]: one.get("value", "") for one in container["env"]}
        assert variables["HANAS_CLIENTS_FILE"] == "/etc/hanas/rights/clients.yaml"
        assert ("HANAS_ENCRYPTION_KEY_FILE" in variables) is encrypted
        volumes = {one["name"]: one.get("secret") for one in template["spec"]["volumes"]}
        items = [{"key": "clients.yaml", "path": "clients.yaml"}]
        assert volumes["rights"] == {"secretName": "rights", "defaultMode": 0o440, "items": items}
        assert ("encryption" in volumes) is encrypted


def test_a_certificate_has_every_name_by_which_pods_and_clients_call() -> None:
    spec = {**MANAGED, "workers": 2, "hosts": ["*", "hanas.example.com"], "services": {"each": {}}}
    leaf = naming.components(owner({**spec, "advertiseUrl": "https://{member}.example.com:3001"}))
    for name in (
        *("worker-0", "worker-1", "localhost", "127.0.0.1", "demo-main.shop.svc", "demo", "demo-overseer.shop"),
        *("demo-worker-1.shop.svc.cluster.local", "*.demo-workers.shop.svc", "hanas.example.com"),
        "worker-1.example.com",
    ):
        assert name in leaf.names, name
    assert not {"*", "worker-2", ""} & set(leaf.names)
    assert naming.clients(owner(spec)).names == ()


# ---------------------------------------------------------------------- who makes the certificates


async def test_the_operator_makes_certificates_before_the_first_pods(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start(**MANAGED)
    authority, own, client = (held(bench, f"demo-{part}") for part in ("ca", "tls", "client-tls"))
    assert own["ca.crt"] == client["ca.crt"] == authority["ca.crt"]
    for leaf in (own, client):
        assert certificates.is_signed(leaf["tls.crt"], authority["ca.crt"])
        assert certificates.is_pair(Pair(leaf["tls.crt"], leaf["tls.key"]))
    assert certificates.facts(client["tls.crt"]).subject == "CN=demo-client"
    assert "ca.key" not in own
    told = status(bench.server)["tls"]
    assert told["secretName"] == "demo-tls"
    assert datetime.fromisoformat(told["expiresAt"]) > NOW + timedelta(days=80)
    assert condition(bench.server, "Ready")["status"] == "True"
    assert condition(bench.server, "Exposed")["status"] == "False"
    count = len(bench.server.writes())
    await bench.reconcile()
    assert [call for call in bench.server.writes()[count:] if call.resource == "secrets"] == []
    for part in ("ca", "tls", "client-tls"):
        [reference] = bench.server.take(kinds.SECRET, NAMESPACE, f"demo-{part}")["metadata"]["ownerReferences"]
        assert reference["kind"] == "HANas", "they go with it"


async def test_more_workers_have_a_certificate_before_their_pods_begin(bench: Bench) -> None:
    await bench.start(**MANAGED)
    bench.want(**MANAGED, workers=5)
    await bench.reconcile()
    assert "worker-4" in certificates.facts(held(bench, "demo-tls")["tls.crt"]).names
    writes = [(call.resource, call.name) for call in bench.server.writes()]
    last = {
        kind: max(i for i, (found, _) in enumerate(writes) if found == kind) for kind in ("secrets", "statefulsets")
    }
    assert last["secrets"] < last["statefulsets"]


async def test_a_renewal_that_is_asked_for_is_made_once_and_restarts_no_pod(bench: Bench) -> None:
    await bench.start(**MANAGED)
    before, template = held(bench, "demo-tls"), bench.server.all(kinds.STATEFUL_SET)[0]["spec"]["template"]
    bench.server.change(kinds.HANAS, *KEY, {"metadata": {"annotations": {names.RENEW: "today"}}})
    await bench.reconcile()
    after, authority = held(bench, "demo-tls"), held(bench, "demo-ca")
    assert after["tls.crt"] != before["tls.crt"]
    assert certificates.is_signed(after["tls.crt"], before["ca.crt"]), "pods trust the other authority later"
    assert after["ca.crt"] == before["ca.crt"] + authority["following.crt"]
    assert held(bench, "demo-client-tls")["ca.crt"] == after["ca.crt"]
    await bench.reconcile()
    assert held(bench, "demo-tls") == after
    assert bench.server.all(kinds.STATEFUL_SET)[0]["spec"]["template"] == template


async def test_a_certificate_that_was_deleted_or_changed_is_made_again(bench: Bench) -> None:
    await bench.start(**MANAGED)
    authority = held(bench, "demo-ca")
    bench.server.remove(kinds.SECRET, NAMESPACE, "demo-client-tls")
    bench.server.change(kinds.SECRET, NAMESPACE, "demo-tls", {"data": {"tls.crt": "bm9uZQ=="}})
    await bench.reconcile()
    assert held(bench, "demo-ca") == authority
    for part in ("tls", "client-tls"):
        assert certificates.is_signed(held(bench, f"demo-{part}")["tls.crt"], authority["ca.crt"])


async def test_a_lost_authority_stays_trusted(bench: Bench) -> None:
    await bench.start(**MANAGED)
    before = held(bench, "demo-tls")
    bench.server.remove(kinds.SECRET, NAMESPACE, "demo-ca")
    await bench.reconcile()
    after = held(bench, "demo-tls")
    assert (after["tls.crt"], after["tls.key"]) == (before["tls.crt"], before["tls.key"])
    assert after["ca.crt"] == held(bench, "demo-ca")["ca.crt"] + before["ca.crt"]


@pytest.mark.parametrize("part", ["ca", "tls", "client-tls"])
async def test_a_secret_of_somebody_else_is_left_alone(bench: Bench, part: str) -> None:
    put(bench, f"demo-{part}", tls_crt=b"mine")
    bench.want(**MANAGED)
    await bench.reconcile()
    assert held(bench, f"demo-{part}") == {"tls.crt": b"mine"}
    assert condition(bench.server, "Ready")["reason"] == "NameTaken"
    assert not has_pods(bench)


async def test_what_the_api_server_refuses_is_told(bench: Bench) -> None:
    bench.server.refusals["create", "secrets"] = (403, "secrets is forbidden")
    bench.want(**MANAGED)
    await bench.reconcile()
    assert "a certificate of this HANas was refused: secrets is forbidden" in degraded(bench)


async def test_what_is_known_of_the_certificate_stays_while_it_cannot_be_read(bench: Bench) -> None:
    await bench.start(**MANAGED)
    before = status(bench.server)["tls"]
    bench.server.refusals["get", "secrets"] = (500, "etcd is away")
    await bench.reconcile()
    assert "could not be written, and is tried again: etcd is away" in degraded(bench)
    assert status(bench.server)["tls"] == before


# ---------------------------------------------------------------------- a Secret of the user


async def test_pods_wait_for_the_secret_of_the_user(bench: Bench) -> None:
    bench.want(**MINE)
    await bench.reconcile()
    assert condition(bench.server, "Ready")["reason"] == "CertificatesMissing"
    assert "there is no Secret mine with the certificate: make it with tls.crt, tls.key and ca.crt" in degraded(bench)
    assert not has_pods(bench)
    put(bench, "mine", **good())
    await bench.reconcile()
    assert has_pods(bench)
    assert bench.server.find(kinds.SECRET, NAMESPACE, "demo-ca") is None


OTHER = certificates.component(AUTHORITY, "demo", (), NOW)
CLIENT = certificates.client(AUTHORITY, "demo", NOW)
NAMELESS = {"tls_crt": OTHER.certificate, "tls_key": OTHER.key}
LACKING = "worker-0, worker-1, worker-2, demo-overseer.shop.svc, demo-worker-0.demo-workers.shop.svc and 2 more"
TROUBLES: dict[str, tuple[dict[str, bytes], str]] = {
    "none": ({}, ""),
    "no authority": ({"ca_crt": b""}, "it has no ca.crt"),
    "another key": ({"tls_key": OTHER.key}, "tls.key is not the key of tls.crt"),
    "no key": ({"tls_key": b"x"}, "tls.key is not the key of tls.crt"),
    "no certificate": ({"tls_crt": b"x"}, "tls.crt holds no certificate"),
    "no authorities": ({"ca_crt": b"x"}, "ca.crt holds no certificate"),
    "expired": (good(days=-0.001), "its certificate is valid from"),
    "for clients only": ({"tls_crt": CLIENT.certificate, "tls_key": CLIENT.key}, "its certificate must be for servers"),
    "without names": (NAMELESS, f"its certificate lacks the names {LACKING}"),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_what_is_wrong_with_a_secret(name: str) -> None:
    change, words = TROUBLES[name]
    content = {key.replace("_", "."): value for key, value in {**good(), **change}.items()}
    secret = {"data": {key: base64.b64encode(value).decode() for key, value in content.items()}}
    told = inspecting.trouble(secret, naming.needed(owner(MINE)), NOW)
    assert told.startswith(words)
    assert bool(told) is bool(words)


def test_a_wildcard_is_as_good_as_the_names_of_all_pods() -> None:
    hosts = ("worker-0", "worker-1", "worker-2", "*.demo-workers.shop.svc", "demo-overseer.shop.svc")
    made = certificates.component(AUTHORITY, "demo", hosts, NOW)
    content = {"tls.crt": made.certificate, "tls.key": made.key, "ca.crt": AUTHORITY.certificate}
    secret = {"data": {key: base64.b64encode(value).decode() for key, value in content.items()}}
    assert inspecting.trouble(secret, naming.needed(owner(MINE)), NOW) == ""


async def test_a_secret_that_becomes_unusable_is_told_and_pods_run_on(bench: Bench) -> None:
    await bench.overseer.show(view())
    put(bench, "mine", **good())
    await bench.start(**MINE)
    put(bench, "mine", **{**good(), "tls_key": OTHER.key})
    await bench.reconcile()
    assert condition(bench.server, "Ready")["status"] == "True"
    assert condition(bench.server, "Updated")["reason"] == "CertificatesUnusable"
    assert "the Secret mine cannot be used: tls.key is not the key" in degraded(bench)
    assert "pods that run keep the certificate that they have" in degraded(bench)


# ---------------------------------------------------------------------- cert-manager


async def test_cert_manager_is_asked_and_waited_for(bench: Bench) -> None:
    bench.want(**ISSUED)
    await bench.reconcile()
    spec = bench.server.take(kinds.CERTIFICATE, NAMESPACE, "demo-tls")["spec"]
    assert spec["issuerRef"] == {"name": "house", "kind": "Issuer", "group": "cert-manager.io"}
    assert {"worker-2", "*.demo-workers.shop.svc"} <= set(spec["dnsNames"])
    assert spec["ipAddresses"] == ["127.0.0.1", "::1"]
    assert spec["usages"] == ["digital signature", "server auth", "client auth"]
    client = bench.server.take(kinds.CERTIFICATE, NAMESPACE, "demo-client-tls")["spec"]
    assert ("dnsNames" in client, client["commonName"]) == (False, "demo-client")
    assert "the Certificate demo-tls: cert-manager has not made it: it has not answered yet" in degraded(bench)
    assert not has_pods(bench)
    for name in ("demo-tls", "demo-client-tls"):
        conditions = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        bench.server.change(kinds.CERTIFICATE, NAMESPACE, name, conditions)
    await bench.reconcile()
    assert "there is no Secret demo-tls with the certificate: cert-manager makes it" in degraded(bench)
    put(bench, "demo-tls", **{**good(), "ca_crt": b""})
    await bench.reconcile()
    assert "it has no ca.crt: see its issuer" in degraded(bench)
    put(bench, "demo-tls", **good())
    await bench.reconcile()
    assert has_pods(bench)


async def test_what_cert_manager_says_is_passed_on(bench: Bench) -> None:
    bench.want(**ISSUED)
    await bench.reconcile()
    condition_ = {"type": "Ready", "status": "False", "message": "Issuer house not found"}
    bench.server.change(kinds.CERTIFICATE, NAMESPACE, "demo-tls", {"status": {"conditions": [condition_]}})
    await bench.reconcile()
    assert (
        "Issuer house not found; kubectl describe certificate demo-tls, and its certificaterequest, tell more"
        in degraded(bench)
    )


async def test_a_cluster_without_cert_manager_is_told(bench: Bench) -> None:
    for verb in ("get", "create"):
        bench.server.refusals[verb, "certificates"] = (404, "the server could not find the requested resource")
    bench.want(**ISSUED)
    await bench.reconcile()
    assert "install cert-manager, or make this HANas with spec.tls.mode Managed" in degraded(bench)
    assert condition(bench.server, "Ready")["reason"] == "CertificatesMissing"


@pytest.mark.parametrize(("status_", "words"), [(409, "could not be written"), (422, "was refused: no")])
async def test_a_certificate_that_cannot_be_asked_for_is_told(bench: Bench, status_: int, words: str) -> None:
    bench.server.refusals["create", "certificates"] = (status_, "no")
    bench.want(**ISSUED)
    await bench.reconcile()
    assert words in degraded(bench)


async def test_a_certificate_of_somebody_else_is_left_alone(bench: Bench) -> None:
    bench.server.put(kinds.CERTIFICATE, NAMESPACE, "demo-tls", spec={"secretName": "other"})
    bench.want(**ISSUED)
    await bench.reconcile()
    assert "the Certificate demo-tls exists already and does not belong to this HANas" in degraded(bench)


def issue(bench: Bench, name: str) -> None:
    """Write a Secret as cert-manager does it for a Certificate."""
    template = bench.server.take(kinds.CERTIFICATE, NAMESPACE, name)["spec"]["secretTemplate"]
    put(bench, name, **good())
    meta = {**template, "annotations": {"cert-manager.io/certificate-name": name}}
    bench.server.change(kinds.SECRET, NAMESPACE, name, {"metadata": meta})
    conditions = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    bench.server.change(kinds.CERTIFICATE, NAMESPACE, name, conditions)


async def test_what_cert_manager_made_is_deleted_with_the_hanas(bench: Bench) -> None:
    bench.want(**ISSUED)
    await bench.reconcile()
    for name in ("demo-tls", "demo-client-tls"):
        issue(bench, name)
    await bench.reconcile()
    bench.server.calls.clear()
    await bench.reconcile()
    assert not [call for call in bench.server.writes() if call.resource == "secrets"], "it is marked once"
    for name in ("demo-tls", "demo-client-tls"):
        owners = bench.server.take(kinds.SECRET, NAMESPACE, name)["metadata"]["ownerReferences"]
        assert [one["kind"] for one in owners] == ["HANas", "Certificate"], "it goes last, or it would be made anew"
    bench.server.remove(kinds.HANAS, NAMESPACE, "demo")
    assert not {"demo-tls", "demo-client-tls"} & {one["metadata"]["name"] for one in bench.server.all(kinds.SECRET)}
    assert bench.server.all(kinds.CERTIFICATE) == []


@pytest.mark.parametrize("part", ["tls", "client-tls"])
async def test_cert_manager_is_not_sent_to_a_secret_of_somebody_else(bench: Bench, part: str) -> None:
    put(bench, f"demo-{part}", **good())
    bench.want(**ISSUED)
    await bench.reconcile()
    assert f"the Secret demo-{part} exists already and does not belong to this HANas" in degraded(bench)
    assert bench.server.find(kinds.CERTIFICATE, NAMESPACE, f"demo-{part}") is None


async def test_a_certificate_that_was_made_anew_owns_its_secret_too(bench: Bench) -> None:
    bench.want(**ISSUED)
    await bench.reconcile()
    issue(bench, "demo-tls")
    await bench.reconcile()
    bench.server.remove(kinds.CERTIFICATE, NAMESPACE, "demo-tls")
    assert held(bench, "demo-tls"), "the HANas still owns it"
    await bench.reconcile()
    await bench.reconcile()
    owners = bench.server.take(kinds.SECRET, NAMESPACE, "demo-tls")["metadata"]["ownerReferences"]
    assert owners[1]["uid"] == bench.server.take(kinds.CERTIFICATE, NAMESPACE, "demo-tls")["metadata"]["uid"]


async def test_a_secret_that_an_earlier_certificate_left_behind_is_used_again(bench: Bench) -> None:
    put(bench, "demo-tls", **good())
    annotations = {"metadata": {"annotations": {"cert-manager.io/certificate-name": "demo-tls"}}}
    bench.server.change(kinds.SECRET, NAMESPACE, "demo-tls", annotations)
    bench.want(**ISSUED)
    await bench.reconcile()
    bench.server.take(kinds.CERTIFICATE, NAMESPACE, "demo-tls")


async def test_the_operator_takes_the_certificates_over_from_cert_manager(bench: Bench) -> None:
    bench.want(**ISSUED)
    await bench.reconcile()
    for name in ("demo-tls", "demo-client-tls"):
        issue(bench, name)
    await bench.reconcile()
    bench.want(**MANAGED, workers=0)
    await bench.reconcile()
    assert bench.server.all(kinds.CERTIFICATE) == [], "or cert-manager would go on writing there"
    authority = held(bench, "demo-ca")["ca.crt"]
    for name in ("demo-tls", "demo-client-tls"):
        assert held(bench, name)["ca.crt"] == authority + AUTHORITY.certificate, "both are trusted, as after a loss"
        annotations = bench.server.take(kinds.SECRET, NAMESPACE, name)["metadata"]["annotations"]
        assert "cert-manager.io/certificate-name" not in annotations
        owners = bench.server.take(kinds.SECRET, NAMESPACE, name)["metadata"]["ownerReferences"]
        assert [one["kind"] for one in owners] == ["HANas"]
    bench.server.calls.clear()
    await bench.reconcile()
    assert not [call for call in bench.server.calls if call.resource == "certificates"]


async def test_pods_wake_up_when_cert_manager_has_made_what_is_asked_for_now(bench: Bench) -> None:
    await bench.start(**MANAGED)
    bench.want(**MANAGED, workers=0)
    await bench.reconcile()
    bench.want(**ISSUED)

    async def workers() -> int:
        await bench.reconcile()
        return int(bench.server.take(kinds.STATEFUL_SET, NAMESPACE, "demo-worker")["spec"]["replicas"])

    assert await workers() == 0, "with the certificate of today they would not know that of tomorrow"
    for name in ("demo-tls", "demo-client-tls"):
        issue(bench, name)
        request = bench.server.take(kinds.CERTIFICATE, NAMESPACE, name)
        ready = {**request["status"]["conditions"][0], "observedGeneration": request["metadata"]["generation"] - 1}
        bench.server.change(kinds.CERTIFICATE, NAMESPACE, name, {"status": {"conditions": [ready]}})
    assert await workers() == 0
    assert "has not made it: it has not answered yet" in degraded(bench)
    for name in ("demo-tls", "demo-client-tls"):
        issue(bench, name)
    assert await workers() == 3


async def test_a_certificate_of_somebody_else_stays_when_its_secret_is_taken_over(bench: Bench) -> None:
    bench.want(**ISSUED)
    await bench.reconcile()
    issue(bench, "demo-tls")
    labels = {"metadata": {"labels": {names.CLUSTER: "other"}}}
    bench.server.change(kinds.CERTIFICATE, NAMESPACE, "demo-tls", labels)
    bench.want(**MANAGED, workers=0)
    await bench.reconcile()
    bench.server.take(kinds.CERTIFICATE, NAMESPACE, "demo-tls")


# ---------------------------------------------------------------------- around it


async def test_the_overseers_are_asked_over_tls(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start(**MANAGED)
    paths = [call for call in bench.server.calls if call.resource == "pods/proxy"]
    assert {call.name for call in paths if "overseer" in (call.name or "")} <= {
        f"https:demo-overseer-{number}:4000" for number in range(2)
    }
    assert paths


async def test_tls_is_turned_on_while_no_pod_runs(bench: Bench) -> None:
    await bench.overseer.show(view())
    await bench.start()
    bench.want(workers=0)
    await bench.reconcile()
    settle(bench.server)
    bench.want(workers=0, **MANAGED)
    await bench.reconcile()
    assert held(bench, "demo-tls")
    bench.want(workers=3, **MANAGED)
    await bench.reconcile()
    settle(bench.server)
    found = [pod["metadata"]["annotations"].get(names.TLS) for pod in bench.server.all(kinds.POD)]
    assert found == ["demo-tls"] * 5
    assert status(bench.server)["tls"]["secretName"] == "demo-tls"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({}, "OpenToAll"),
        ({"clientTokenSecret": {"name": "tokens"}}, "WithoutTls"),
        ({"clientRightsSecret": {"name": "rights"}}, "WithoutTls"),
    ],
)
async def test_what_is_exposed_is_told(bench: Bench, spec: dict[str, Any], reason: str) -> None:
    bench.want(**spec)
    await bench.reconcile()
    told = condition(bench.server, "Exposed")
    assert (told["status"], told["reason"]) == ("True", reason)
    assert "set spec.tls" in told["message"]


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"clientRightsSecret": {"name": "rights"}}, "RightsMissing", "no Secret rights: clientRightsSecret names it"),
        ({"encryption": {"secretName": "keys"}}, "EncryptionKeysMissing", "no Secret keys: encryption names it"),
    ],
)
async def test_a_secret_that_the_spec_names_must_be_there(
    bench: Bench, spec: dict[str, Any], reason: str, words: str
) -> None:
    bench.want(**spec)
    await bench.reconcile()
    assert condition(bench.server, "Updated")["reason"] == reason
    assert words in degraded(bench)
    put(bench, next(iter(spec.values())).get("name", "keys"), other=b"x")
    await bench.reconcile()
    assert "has no key" in degraded(bench)
    bench.server.refusals["get", "secrets"] = (500, "etcd is away")
    await bench.reconcile()
    assert "reading the" in degraded(bench)


def test_a_secret_that_is_no_base64_holds_nothing() -> None:
    assert secrets.content({"data": {"tls.crt": "=?"}}, "tls.crt") == b""
    assert secrets.content(None, "tls.crt") == b""
