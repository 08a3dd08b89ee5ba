"""Backups to a bucket, and those of a schedule to a claim, under load; a new HANas from each: compared key by key."""

import pytest

from tests.e2e.backups import API_VERSION, KEYS, back_up, claim, content, put
from tests.e2e.clients import RESTRICTED, clients
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Made
from tests.e2e.kubectl import Kubectl, Resource
from tests.e2e.waiting import eventually

BUCKET, PORT = "archives", 9000
ACCESS_KEY, SECRET_KEY = "tester", "a-secret-of-tests"
SERVE = (
    f"mkdir --parents /data/{BUCKET} && "
    f"exec rclone serve s3 /data --addr :{PORT} --auth-key {ACCESS_KEY},{SECRET_KEY} --config /data/.rclone"
)


def bucket(cluster: Cluster, kubectl: Kubectl) -> Resource:
    """Start a server of S3; return the target that leads to its bucket."""
    labels = {"app": "s3"}
    container = {
        "name": "s3",
        "image": cluster.image("s3"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", SERVE],
        "env": [{"name": "HOME", "value": "/data"}],
        "securityContext": RESTRICTED,
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    pod: Resource = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "data", "emptyDir": {}}],
    }
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "s3", "labels": labels}, "spec": pod},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "s3"},
            "spec": {"selector": labels, "ports": [{"port": PORT}]},
        },
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bucket"}, "stringData": keys},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "wrong"},
            "stringData": {**keys, "AWS_SECRET_ACCESS_KEY": "another"},
        },
    )
    kubectl("wait", "pod/s3", "--for=condition=Ready", "--timeout=60s", seconds=70.0)
    return {
        "s3": {"bucket": BUCKET, "prefix": "shop", "endpoint": f"http://s3:{PORT}", "credentials": "bucket"},
    }


def stored(kubectl: Kubectl) -> list[str]:
    """The files in the folder that the namespace has in the bucket."""
    return sorted(kubectl("exec", "s3", "--", "ls", f"/data/{BUCKET}/shop/{kubectl.namespace}").split())


@pytest.mark.long
def test_a_new_hanas_is_restored_from_a_bucket_and_from_the_backup_of_a_schedule(cluster: Cluster, hanas: Made) -> None:
    demo = hanas(workers=2)
    kubectl = demo.kubectl
    claim(cluster, kubectl, "archives")
    to_bucket, to_claim = bucket(cluster, kubectl), {"claim": {"name": "archives"}}
    put(demo, KEYS)
    schedule: Resource = {
        "apiVersion": API_VERSION,
        "kind": "HANasScheduledBackup",
        "metadata": {"name": "often"},
        "spec": {"schedule": "* * * * *", "keep": 1, "backup": {"hanas": "demo", "target": to_claim}},
    }
    with clients(cluster, demo):
        kubectl.apply(schedule)
        told = [back_up(kubectl, name, target=to_bucket, series="s", keep=1) for name in ("first", "second")]
        assert [each["phase"] for each in told] == ["Completed", "Completed"], told
        assert told[0]["keys"] >= len(KEYS)
        assert stored(kubectl) == [told[1]["file"]], "of the series, the latest is kept"
        refused = back_up(kubectl, "refused", target={"s3": {**to_bucket["s3"], "credentials": "wrong"}})
        assert refused["phase"] == "Failed"
        assert stored(kubectl) == [told[1]["file"]]
        print(f"refused: {refused['message']}")

        def of_schedule() -> list[Resource]:
            return kubectl.list("hanasbackups", "hanas.dev/schedule=often")

        eventually("the schedule makes a backup", of_schedule, 90.0)
        first = of_schedule()[0]["metadata"]["name"]

        def later() -> str | None:
            done = [each for each in of_schedule() if each.get("status", {}).get("phase") == "Completed"]
            names = [each["metadata"]["name"] for each in done]
            return names[0] if names and first not in names else None

        latest = eventually("of the backups of the schedule, the latest is kept", later, 180.0)
        kubectl.patch("hanasscheduledbackup", "often", {"spec": {"suspend": True}})
    demo.until_ready()
    put(demo, {"k/later": b"in no backup"})
    for name, backup in (("from-bucket", "second"), ("from-claim", latest)):
        copy = hanas(name, workers=1, bootstrap={"fromBackup": {"backup": backup}})
        assert content(copy, "k/") == KEYS
        copy.delete()
    assert content(demo, "k/") == {**KEYS, "k/later": b"in no backup"}
