"""A HANas whose certificates a real cert-manager makes: renewed under load, lost, and taken over by the operator."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from hanas_lab.history import OperationOutcome
from hanas_serving import certificates
from tests.e2e import cert_managers
from tests.e2e.backups import KEYS, content, put
from tests.e2e.cert_managers import NoCertManager
from tests.e2e.certificates import held, pods, until_shown
from tests.e2e.clients import clients, longest_silence
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas
from tests.e2e.kubectl import Kubectl, Resource
from tests.e2e.test_kubectl_plugin import said
from tests.e2e.waiting import eventually

ISSUED = {"mode": "CertManager", "issuerRef": {"name": "house"}}
_API_VERSION = "cert-manager.io/v1"
_FAILED = {OperationOutcome.UNKNOWN, OperationOutcome.NOT_DONE}
pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]  # the first build of cert-manager takes minutes


@pytest.fixture(scope="module")
def cert_manager(cluster: Cluster) -> Iterator[str]:
    """Which one it is."""
    try:
        with cert_managers.found(cluster.kubectl) as version:
            print(f"cert-manager: {version}")
            yield version
    except NoCertManager as missing:
        pytest.skip(str(missing))


@pytest.fixture
def issuer(cert_manager: str, namespace: Kubectl) -> Kubectl:
    """A namespace with the issuer `house`, whose authority cert-manager has made as well."""
    root: Resource = {"isCA": True, "commonName": "house", "secretName": "house"}
    root |= {"privateKey": {"algorithm": "ECDSA", "size": 256}, "issuerRef": {"name": "self", "kind": "Issuer"}}
    namespace.apply(
        _resource("Issuer", "self", {"selfSigned": {}}),
        _resource("Certificate", "house", root),
        _resource("Issuer", "house", {"ca": {"secretName": "house"}}),
    )
    namespace("wait", "issuer", "house", "--for=condition=Ready", "--timeout=60s")
    return namespace


def _resource(kind: str, name: str, spec: Resource) -> Resource:
    return {"apiVersion": _API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _until_other(kubectl: Kubectl, before: str) -> str:
    """Wait until the Secret of the pods holds another certificate than `before`; return that."""

    def other() -> str | None:
        present = held(kubectl, "demo-tls") if kubectl.get("secret", "demo-tls") else before
        return present if present != before else None

    return eventually("cert-manager makes another certificate", other)


def _renew(kubectl: Kubectl) -> None:
    """Have cert-manager renew the certificate of the pods, as `cmctl renew` does it."""
    resource = kubectl.get("certificate", "demo-tls")
    assert resource is not None
    others = [one for one in resource["status"]["conditions"] if one["type"] != "Issuing"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    issuing = {"type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "lastTransitionTime": now}
    change = {"status": {"conditions": [*others, {**issuing, "message": "renewed by a test"}]}}
    kubectl("patch", "certificate", "demo-tls", "--subresource=status", "--type=merge", "--patch", json.dumps(change))


def test_certificates_of_cert_manager_are_renewed_under_load(cluster: Cluster, hanas: Made, issuer: Kubectl) -> None:
    demo = hanas(wait=False, tls={"mode": "CertManager", "issuerRef": {"name": "nobody"}})
    demo.until("it says what is missing", lambda: demo.condition("Ready")[:2] == ("False", "CertificatesMissing"))
    assert "kubectl describe certificate demo-tls" in demo.condition("Degraded")[2]
    assert pods(demo) == {}
    demo.delete()

    demo = hanas(workers=2, tls=ISSUED)
    authority = held(issuer, "house").encode()
    for name in ("demo-tls", "demo-client-tls"):
        assert certificates.is_signed(held(issuer, name).encode(), authority)
        assert held(issuer, name, "ca.crt").encode() == authority
    main, epoch = demo.status["main"], demo.status["epoch"]
    assert f"main {main} (serving)" in said(demo, "status")
    there = pods(demo)
    began = time.time()
    with clients(cluster, demo) as running:
        first = held(issuer, "demo-tls")
        # From the next one on: valid for an hour, of which 59 minutes and a half are the time for a renewal.
        issuer.patch("certificate", "demo-tls", {"spec": {"duration": "1h", "renewBefore": "59m30s"}})
        _renew(issuer)
        second = _until_other(issuer, first)
        third = _until_other(issuer, second)
        issuer.patch("certificate", "demo-tls", {"spec": {"duration": "1h", "renewBefore": "5m"}})
        ends = certificates.facts(third.encode()).ends.timestamp()
        assert ends < time.time() + 3600.0, "cert-manager keeps to what the operator leaves unsaid"
        until_shown(demo)
        running.until_acknowledged()

        before = held(issuer, "demo-tls")
        issuer("delete", "secret", "demo-tls")
        _until_other(issuer, before)
        until_shown(demo)
        running.until_acknowledged()
        failed = [call for call in running.history() if call.start > began and call.outcome in _FAILED]
        assert failed == []
        assert pods(demo) == there, "no pod was restarted"
        assert (demo.status["main"], demo.status["epoch"]) == (main, epoch), "no takeover"

        # The next main and its backups, and the operator, connect with the new certificate.
        successor = next(name for name in ("worker-0", "worker-1") if name != main)
        issuer("annotate", "hanas", demo.name, f"hanas.dev/switchover={successor}")
        assert demo.until_main_is_not(main) == successor
        running.until_acknowledged()
        demo.until_ready()
        print(f"longest time without an answer {longest_silence(running.history()):.2f} s")
    demo.until("the status tells its end", lambda: _end_is_told(issuer, demo))


def _end_is_told(kubectl: Kubectl, demo: HANas) -> bool:
    ends = certificates.facts(held(kubectl, "demo-tls").encode()).ends
    return datetime.fromisoformat(demo.status["tls"]["expiresAt"]) == ends


def test_the_operator_takes_certificates_over_and_gives_them_back(hanas: Made, issuer: Kubectl) -> None:
    demo = hanas(workers=2, tls=ISSUED)
    authority = held(issuer, "house")
    put(demo, KEYS)
    for tls in ({"mode": "Managed"}, ISSUED):
        demo.apply(workers=0, tls=demo.resource["spec"]["tls"])
        demo.until("it sleeps", lambda: demo.condition("Ready")[:2] == ("False", "Hibernated"))
        demo.apply(workers=2, tls=tls)
        demo.until_ready()
        assert content(demo) == KEYS
        requests = [
            one["metadata"]["name"] for one in issuer.list("certificates") if one["metadata"]["name"] != "house"
        ]
        trusted = held(issuer, "demo-tls", "ca.crt")
        assert requests == (["demo-client-tls", "demo-tls"] if tls == ISSUED else [])
        assert trusted.endswith(authority), "what cert-manager has signed stays trusted"
        assert trusted != authority, "beside the operator's own authority"
    demo.delete()

    def left() -> list[str]:
        names = [one["metadata"]["name"] for kind in ("secrets", "certificates") for one in issuer.list(kind)]
        return [name for name in names if name.startswith("demo")]

    eventually(f"nothing is left of it: {left()}", lambda: left() == [])
