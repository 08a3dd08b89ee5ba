"""The drills of docs/compose.md: its own commands, in its order, and after each what must then be so."""

import httpx
import pytest

from tests.compose.conftest import ROOT
from tests.compose.stack import FIRST_THREE, Stack
from tests.compose.terminal import blocks
from tests.integration.waiting import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

PLAYED = [
    "Start",
    "Write and read",
    "Cut the link of the main",
    "Mend the link",
    "Isolate the main",
    "Connect it again",
    "Kill the main",
    "Add it again",
    "Add a fourth worker",
    "Stop the main in order",
    "An isolated main that steps down",
    "Clean up",
]


async def test_every_command_block_of_the_document_is_played_here() -> None:
    assert list(blocks(ROOT / "docs/compose.md")) == PLAYED


async def test_start(stack: Stack) -> None:
    await stack.play("Start")
    await stack.play("Start", 1)
    main = await stack.until_well()
    assert (await stack.terminal.play("main")).strip() == main


async def test_every_worker_reads_what_was_written_at_any(stack: Stack) -> None:
    said = await stack.play("Write and read")
    assert said.split() == ["hello", "hello"]


async def test_keepalives_go_to_the_address_in_the_network_link(stack: Stack) -> None:
    for worker in sorted(FIRST_THREE):
        for other in sorted(FIRST_THREE - {worker}):
            assert await stack.link_address(worker, other) == await stack.address_in("link", worker)


async def test_a_cut_link_is_told_from_a_dead_main_and_mended(stack: Stack) -> None:
    main, epoch = await stack.until_well(), await stack.epoch()
    backups = FIRST_THREE - {main}

    await stack.play("Cut the link of the main")
    await stack.until_verdict("LinkFailed", *backups)
    alert = await stack.until_alert("LinkFailed", main)
    assert alert.severity == "notice"
    assert "not urgent" in await stack.play("Cut the link of the main", 1)
    for backup in backups:
        answer = await stack.http.get(stack.url(backup, "/v1/kv/greeting"))
        assert (answer.status_code, answer.headers["location"]) == (307, stack.url(main, "/v1/kv/greeting"))
    assert (await stack.client.get("greeting")).value == b"still here"

    await stack.play("Mend the link")
    assert await stack.until_well() == main
    assert await stack.epoch() == epoch
    for backup in backups:
        assert await stack.link_address(main, backup) == await stack.address_in("link", main)


async def test_an_isolated_main_that_lives_in_the_folder_is_not_replaced(stack: Stack) -> None:
    main, epoch = await stack.until_well(), await stack.epoch()

    await stack.play("Isolate the main")
    await stack.until_verdict("LinkFailed", *(FIRST_THREE - {main}))
    await stack.until_verdict("PrimaryIsolated", main)
    assert (await stack.until_alert("PrimaryIsolated", main)).severity == "urgent"
    assert "still here" in await stack.play("Isolate the main", 1)
    with pytest.raises(httpx.TransportError):
        await stack.http.get(stack.url(main, "/healthz"))

    await stack.play("Connect it again")
    assert await stack.until_well() == main
    assert await stack.epoch() == epoch
    assert (await stack.http.get(stack.url(main, "/v1/kv/greeting"))).content == b"still here"


async def test_a_killed_main_is_followed_and_added_again(stack: Stack) -> None:
    main, epoch = await stack.until_well(), await stack.epoch()

    await stack.play("Kill the main")
    successor = await stack.until_other_main(main)
    takeover = (await stack.client.takeovers())[-1]
    assert (takeover.member, takeover.verdict) == (successor, "PrimaryFailed")
    assert takeover.epoch > epoch
    assert "still here" in await stack.play("Kill the main", 1)

    await stack.play("Add it again")
    assert await stack.until_well() == successor
    for worker in sorted(FIRST_THREE - {main}):
        assert await stack.link_address(main, worker) == await stack.address_in("link", main)


async def test_a_fourth_worker(stack: Stack) -> None:
    main = await stack.until_well()
    assert "still here" in await stack.play("Add a fourth worker")
    assert await stack.until_well(FIRST_THREE | {"worker-4"}) == main


async def test_a_main_that_is_stopped_hands_over(stack: Stack) -> None:
    four = FIRST_THREE | {"worker-4"}
    main, epoch = await stack.until_well(four), await stack.epoch()

    await stack.play("Stop the main in order")
    await stack.until_other_main(main)
    takeover = (await stack.client.takeovers())[-1]
    assert (takeover.epoch, takeover.why) == (epoch + 1, "hand-over")
    state = await stack.terminal.play('docker inspect --format \'{{.State.ExitCode}}\' "$(container "$MAIN")"')
    assert state.strip() == "0"

    await stack.play("Stop the main in order", 1)
    await stack.until_well(four)


async def test_an_isolated_main_steps_down_if_it_shall(stack: Stack) -> None:
    four = FIRST_THREE | {"worker-4"}
    heading = "An isolated main that steps down"
    await stack.until_well(four)

    await stack.play(heading)
    main = (await stack.terminal.play('echo "$MAIN"')).strip()
    await stack.until_other_main(main)
    takeover = (await stack.client.takeovers())[-1]
    assert takeover.why == "hand-over"
    assert main not in await stack.play(heading, 1)

    await stack.play(heading, 2)

    async def backup() -> bool:
        status = (await stack.http.get(stack.url(main, "/v1/status"))).json()
        return bool(status["role"] == "backup" and status["verdict"] == "Healthy")

    await eventually(backup)
    assert (await stack.client.get("greeting")).value == b"still here"


async def test_clean_up_leaves_the_volume_and_its_data(stack: Stack) -> None:
    await stack.play("Clean up")
    assert not (await stack.terminal.play("docker compose --profile more ps --all --quiet")).strip()
    await stack.play("Start")
    assert (await stack.client.get("greeting")).value == b"still here"
