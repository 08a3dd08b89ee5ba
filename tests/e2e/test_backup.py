"""A backup to a claim, and a new HANas that is restored from it: compared key by key."""

from tests.e2e.backups import KEYS, back_up, claim, content, put
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import Made


def test_a_new_hanas_is_restored_from_a_backup_on_a_claim(cluster: Cluster, hanas: Made) -> None:
    target = {"claim": {"name": "archives", "subPath": "shop"}}
    demo = hanas(workers=2, backupTarget=target)
    claim(cluster, demo.kubectl, "archives")
    put(demo, KEYS)
    told = back_up(demo.kubectl, "first")
    assert told["phase"] == "Completed", told
    assert (told["keys"], told["folderId"], told["target"]) == (len(KEYS), demo.status["folderId"], target)
    assert told["size"] > sum(map(len, KEYS.values()))
    assert told["revision"] >= len(KEYS)
    put(demo, {"later": b"not in the backup"})
    copy = hanas("copy", workers=2, bootstrap={"fromBackup": {"backup": "first"}})
    assert content(copy) == KEYS
    assert content(demo) == {**KEYS, "later": b"not in the backup"}
    assert copy.status["folderId"] != demo.status["folderId"]
