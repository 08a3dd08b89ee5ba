"""TLS on all ports: renewed under load, turned on and off, with certificates of others; and encrypted volumes."""

import base64
import time
from datetime import UTC, datetime

import pytest

from hanas_core.volume import encryption
from hanas_lab.history import OperationOutcome
from hanas_serving import certificates
from tests.e2e.backups import KEYS, back_up, claim, content, put
from tests.e2e.certificates import held, pods, until_shown
from tests.e2e.clients import IDLE, TLS_FILES, clients, container, longest_silence, show_certificate
from tests.e2e.cluster import Cluster
from tests.e2e.commands import CommandFailed
from tests.e2e.conftest import Made
from tests.e2e.hanas import HANas
from tests.e2e.hands import Hands
from tests.e2e.kubectl import Kubectl, Resource
from tests.e2e.test_kubectl_plugin import said
from tests.e2e.waiting import eventually

MANAGED = {"mode": "Managed"}
_RIGHTS = """
principals:
  - name: load
    certificates: ["CN=demo-client"]
    grants: [{prefix: e2e/, roles: [writer]}]
"""
_FAILED = {OperationOutcome.UNKNOWN, OperationOutcome.NOT_DONE}


def _secret(kubectl: Kubectl, name: str, **data: bytes) -> None:
    encoded = {key.replace("_", "."): base64.b64encode(value).decode() for key, value in data.items()}
    kubectl.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded})


def _asker(cluster: Cluster, demo: HANas) -> None:
    """Start a pod that can ask, with the certificate for clients."""
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    url = {"name": "OVERSEER_IP", "value": f"https://{demo.name}-overseer:4000"}
    containers = [container(cluster, "asker", IDLE, env=[url, *TLS_FILES])]
    spec: Resource = {"securityContext": security, "terminationGracePeriodSeconds": 0, "containers": containers}
    show_certificate(demo, spec)
    demo.kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asker"}, "spec": spec})
    demo.kubectl("wait", "pod", "asker", "--for=condition=Ready", "--timeout=60s")


def _ask(demo: HANas, *words: str) -> str:
    return demo.kubectl("exec", "asker", "--", *words)


@pytest.mark.timeout(900)
def test_certificates_are_renewed_under_load(cluster: Cluster, hanas: Made, signals: Hands, namespace: Kubectl) -> None:
    _secret(namespace, "rights", clients_yaml=_RIGHTS.encode())
    demo = hanas(tls=MANAGED, clientRightsSecret={"name": "rights"})
    assert demo.condition("Exposed")[:2] == ("False", "Protected")
    _asker(cluster, demo)
    with clients(cluster, demo) as running:
        main, epoch = demo.status["main"], demo.status["epoch"]
        signals.signal(demo.kubectl, demo.pod(main), 9)
        takeover = demo.until_epoch_after(epoch)
        demo.until_ready()
        running.until_acknowledged()
        print(f"{takeover['why']}: {takeover['words']}; {longest_silence(running.history()):.2f} s without an answer")

        before, there = held(namespace, "demo-tls"), pods(demo)
        began = time.time()
        namespace("annotate", "hanas", demo.name, "hanas.dev/renew-certificates=e2e")
        demo.until("they are renewed", lambda: held(namespace, "demo-tls") != before)
        until_shown(demo)
        running.until_acknowledged()
        failed = [call for call in running.history() if call.start > began and call.outcome in _FAILED]
        assert failed == []
        assert pods(demo) == there, "no pod was restarted"

        # The next main and its backups, and the operator, connect with the new certificate.
        main = demo.status["main"]
        successor = next(name for name in ("worker-0", "worker-1") if name != main)
        namespace("annotate", "hanas", demo.name, f"hanas.dev/switchover={successor}")
        assert demo.until_main_is_not(main) == successor
        running.until_acknowledged()
        demo.until_ready()
        failed = [call for call in running.history() if call.start > began and call.outcome in _FAILED]
        assert failed == []
        print(f"longest time without an answer {longest_silence(running.history()):.2f} s")

    assert _ask(demo, "hanas", "put", "e2e/asked", "value").startswith("created e2e/asked")
    with pytest.raises(CommandFailed, match="has no right to write"):
        _ask(demo, "hanas", "put", "other/0", "value")
    with pytest.raises(CommandFailed, match="show a certificate"):
        _ask(demo, "env", "HANAS_TLS_CERT=", "HANAS_TLS_KEY=", "hanas", "get", "e2e/0")
    assert f"main {successor} (serving)" in said(demo, "status")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_tls_is_turned_on_and_off_while_the_cluster_sleeps(cluster: Cluster, hanas: Made) -> None:
    demo = hanas(workers=2, tls=None)
    put(demo, KEYS)
    assert demo.condition("Exposed")[:2] == ("True", "OpenToAll")
    with pytest.raises(CommandFailed, match="set workers to 0"):
        demo.apply(tls=MANAGED)
    for tls in (MANAGED, None):
        demo.apply(workers=0, tls=demo.resource["spec"].get("tls"))
        demo.until("it sleeps", lambda: demo.condition("Ready")[:2] == ("False", "Hibernated"))
        demo.apply(workers=2, tls=tls)
        demo.until_ready()
        assert content(demo) == KEYS
        assert demo.condition("Exposed")[0] == ("False" if tls else "True")
        assert f"main {demo.status['main']} (serving)" in said(demo, "status")


def _leaf(authority: certificates.Pair, *members: str) -> dict[str, bytes]:
    hosts = [*members, "localhost", "127.0.0.1", "demo-overseer", "demo-main"]
    made = certificates.component(authority, "demo", hosts, datetime.now(UTC), 30)
    return {"tls_crt": made.certificate, "tls_key": made.key, "ca_crt": authority.certificate}


@pytest.mark.long
def test_a_secret_of_the_user_is_looked_at_and_cert_manager_is_missed(
    cluster: Cluster, hanas: Made, namespace: Kubectl
) -> None:
    demo = hanas(wait=False, workers=2, tls={"mode": "SecretRefs", "secretName": "mine"})
    demo.until("it waits for the Secret", lambda: demo.condition("Ready")[1] == "CertificatesMissing")
    authority = certificates.authority("e2e", datetime.now(UTC))
    _secret(namespace, "mine", **_leaf(authority, "worker-0"))
    demo.until("it says what is missing", lambda: "lacks the names worker-1" in demo.condition("Degraded")[2])
    assert namespace.list("pods", f"hanas.dev/cluster={demo.name}") == []
    local = f"{namespace.namespace}.svc"
    names = (f"demo-overseer.{local}", f"*.demo-workers.{local}")
    _secret(namespace, "mine", **_leaf(authority, "worker-0", "worker-1", *names))
    demo.until_ready()
    assert demo.status["tls"]["secretName"] == "mine"
    put(demo, {"key": b"value"})
    assert content(demo) == {"key": b"value"}
    assert f"main {demo.status['main']} (serving)" in said(demo, "status")

    if "certificates.cert-manager.io" in namespace("api-resources", "--output=name"):
        return
    issued = hanas("issued", wait=False, tls={"mode": "CertManager", "issuerRef": {"name": "house"}})
    issued.until("it says so", lambda: "install cert-manager" in issued.condition("Degraded")[2])


def test_what_lies_in_the_volume_is_encrypted_and_backed_up(cluster: Cluster, hanas: Made, namespace: Kubectl) -> None:
    first, second = encryption.new_line(), encryption.new_line()
    _secret(namespace, "keys", keys=f"{first}\n".encode())
    fields = {"workers": 2, "tls": MANAGED, "encryption": {"secretName": "keys"}}
    demo = hanas(**fields, backupTarget={"claim": {"name": "archives"}})
    claim(cluster, namespace, "archives")
    put(demo, {**KEYS, "k/secret": b"what nobody may see"})
    grep = ("grep", "-rlc", "what nobody may see", "/var/lib/hanas/communication")
    with pytest.raises(CommandFailed):
        namespace("exec", demo.pod("worker-0"), "--", *grep)

    def read(member: str) -> str:
        return namespace("exec", demo.pod(member), "--", "cat", "/etc/hanas/encryption/keys")

    _secret(namespace, "keys", keys=f"{second}\n{first}\n".encode())
    namespace("annotate", "pods", "--selector", f"hanas.dev/cluster={demo.name}", f"e2e/looked={time.time()}")
    eventually("both see the new key", lambda: all(read(one).startswith(second) for one in ("worker-0", "worker-1")))
    put(demo, {"k/later": b"with another key"})
    told = back_up(namespace, "first")
    assert told["phase"] == "Completed", told
    copy = hanas("copy", **fields, bootstrap={"fromBackup": {"backup": "first"}})
    assert content(copy) == {**KEYS, "k/secret": b"what nobody may see", "k/later": b"with another key"}
    with pytest.raises(CommandFailed):
        namespace("exec", copy.pod("worker-0"), "--", *grep)
    with pytest.raises(CommandFailed, match="cannot be taken away"):
        demo.apply(encryption=None)
