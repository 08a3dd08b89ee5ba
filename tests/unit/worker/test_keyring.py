"""Who lacks a key of the log says so and asks for no takeover; what has another key is written anew."""

import pytest
from prometheus_client.metrics_core import Metric

from hanas_core.members.documents import LOG
from hanas_core.members.roles import Role
from hanas_core.members.verdicts import Verdict
from hanas_core.volume import names
from hanas_core.volume.encryption import PLAIN, parse
from hanas_core.volume.errors import KeyMissing
from hanas_worker.log.driver import LogDriver
from hanas_worker.log.keyring import UNKNOWN, KeyUse
from hanas_worker.node import Node
from hanas_worker.ops import status
from hanas_worker.ops.metrics import NodeCollector
from tests.unit.core.memory_folder import MemoryFolder
from tests.unit.core.scenery import Main, bare_folder, serve
from tests.unit.waiting import until
from tests.unit.worker.nodes import backup_of
from tests.unit.worker.test_hopeless_takeovers import claimed, conclude

A, B = "a1" * 32, "b2" * 32
KEY_A, KEY_B = parse([A]).current or "", parse([B]).current or ""


def vault(*lines: str) -> MemoryFolder:
    folder = bare_folder()
    folder.keys = parse(lines)
    return folder


def backup(main: Main, *lines: str) -> Node:
    folder = main.folder.other()
    folder.keys = parse(lines)
    return backup_of(main, folder)


def lacking(driver: LogDriver) -> str | None:
    return None if driver.state.lacking is None else driver.state.lacking.key_id


def uses(driver: LogDriver) -> tuple[KeyUse, ...]:
    return driver.keyring.uses


async def follow(driver: LogDriver) -> None:
    await driver.look()
    await driver._follower.catch_up()
    await driver.keyring.look()


async def test_a_backup_that_lacks_the_key_asks_for_no_takeover_until_it_has_it() -> None:
    main = serve(vault(A), 1)
    main.put("k", "v")
    main.put("l", "v")
    driver = backup(main, B).logs[LOG]
    await driver.look()
    with pytest.raises(KeyMissing, match=KEY_A):
        await driver._follower.catch_up()
    await driver.tenure.prepare()
    await conclude(driver)
    assert claimed(main.folder) == 1
    driver.tick(others_connected=False, blind=False)
    (told,) = driver.state.member.conditions()
    assert told.kind is Verdict.TAKEOVER_FAILED
    assert f"{names.segment(1, 1)}: is encrypted with the key {KEY_A}" in told.message
    driver.state.host.folder.keys = parse([B, A])
    driver.tick(others_connected=False, blind=False)
    assert driver.state.member.conditions() == []
    await conclude(driver)
    await until(lambda: driver.serving is not None)
    assert driver.serving is not None
    driver.serving.end("the test is over")


async def test_a_key_that_only_an_older_segment_needs_is_found_lacking() -> None:
    first = serve(vault(A), 1)
    first.put("k", "v")
    later = first.folder.other()
    later.keys = parse([B, A])
    main = serve(later, 2, "b", known=first.log.committed)
    main.put("l", "v")
    driver = backup(main, A, B).logs[LOG]
    await follow(driver)
    assert lacking(driver) is None
    assert driver.keyring.uses == (KeyUse(KEY_B, 1, 2 << 20), KeyUse(KEY_A, 1, 2 << 20))[:: 1 if KEY_B < KEY_A else -1]
    driver.state.host.folder.keys = parse([B])
    await driver.keyring.look()
    assert lacking(driver) == KEY_A


async def test_a_takeover_that_finds_a_key_lacking_is_the_last_one() -> None:
    main = serve(vault(A), 1)
    main.put("k", "v")
    driver = backup(main, B).logs[LOG]
    await driver.look()
    await driver.tenure.prepare()
    await conclude(driver)  # it has not read the log yet
    await until(lambda: driver.state.lacking is not None and driver.state.member.role is Role.BACKUP)
    for _ in range(3):
        await conclude(driver)
    assert claimed(main.folder) == 2


async def test_what_is_known_of_the_keys_is_shown() -> None:
    main = serve(vault(PLAIN, A), 1)
    main.put("k", "v")
    main.put("l", "v")
    node = backup(main, A)
    driver = node.logs[LOG]
    assert uses(driver) == ()
    await driver.look()
    await driver._follower.catch_up()
    assert {use.key for use in uses(driver) if use.segments} == {UNKNOWN}
    await driver.keyring.look()
    assert uses(driver) == (KeyUse(KEY_A, 0, 0), KeyUse(PLAIN, 1, 2 << 20))
    shown = status._encryption(driver)
    assert [(use.key, use.segments, use.at_hand, use.current) for use in shown] == [
        (KEY_A, 0, True, True),
        (PLAIN, 1, True, False),
    ]
    metrics: dict[str, Metric] = {metric.name: metric for metric in NodeCollector(node).collect()}
    samples = metrics["hanas_encryption_segments"].samples
    assert {sample.labels["key"]: sample.value for sample in samples} == {KEY_A: 0, PLAIN: 1}
    assert metrics["hanas_encryption_bytes"].samples[1].value == 2 << 20
