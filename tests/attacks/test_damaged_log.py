"""A changed byte in a live segment: no takeover can succeed, and that must neither be tried for ever nor go untold."""

from pathlib import Path

from hanas_core.volume import names
from hanas_core.volume.folder import BLOCK_BYTES
from tests.integration.cluster import running
from tests.integration.waiting import eventually

KEYS = 20


async def test_a_damaged_log_costs_few_claims_is_told_and_is_served_again_once_it_is_restored(tmp_path: Path) -> None:
    async with running(tmp_path, 3) as cluster:
        await cluster.settle()
        for number in range(KEYS):
            await cluster.client.put(f"k{number}", b"value")
        folder = cluster.lab.communication_folder
        for name in cluster.names:
            await cluster.lab.kill(name)
        segment = folder / names.segment(1, 1)
        whole = segment.read_bytes()
        at = BLOCK_BYTES + 80
        with segment.open("r+b") as file:
            file.seek(at)
            file.write(bytes([whole[at] ^ 1]))
        for name in cluster.names:
            await cluster.lab._server(name).launch()  # it is not ready as long as nobody serves

        async def told() -> set[str | None]:
            alerts = [alert for alert in await cluster.client.alerts() if alert.kind == "TakeoverFailed"]
            damages = {alert.member for alert in alerts if f"{names.segment(1, 1)}: at offset" in alert.message}
            return damages | {alert.member for alert in alerts if alert.member == "overseer"}

        async def all_told() -> bool:
            return await told() == {*cluster.names, "overseer"}

        await eventually(all_told)
        assert len(list((folder / names.CLAIMS).iterdir())) <= 3
        with segment.open("r+b") as file:
            file.seek(at)
            file.write(whole[at : at + 1])
        await cluster.main()
        for number in range(KEYS):
            assert (await cluster.client.get(f"k{number}")).value == b"value"

        async def told_no_more() -> bool:
            return not await told()

        await eventually(told_no_more)
