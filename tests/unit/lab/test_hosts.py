"""Hosts on different mounts of one volume."""

from pathlib import Path

from hanas_lab.hosts import on_mounts


def test_each_worker_has_a_mount_of_its_own_and_the_overseer_the_last_one() -> None:
    hosts = on_mounts([Path("/a"), Path("/b")], "x/communication", 3)
    assert {name: str(host.folder) for name, host in hosts.items()} == {
        "worker-1": "/a/x/communication",
        "worker-2": "/b/x/communication",
        "worker-3": "/a/x/communication",
        "overseer": "/b/x/communication",
    }
