"""The time of a failover: from kill -9 of the main under load to the first write that another main acknowledges.

Prints each kill and, at the end, the distribution; exits non-zero if an acknowledged write was lost.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence

from hanas_client import Policy
from hanas_client.load import percentile
from hanas_lab.cluster import Lab
from hanas_lab.writers import Writers

_SETTLED_WRITES = 50


async def measure(kills: int, workers: int, preset: str, *, tls: bool = False) -> tuple[list[float], list[str], int]:
    """Return the seconds of each failover, the lost keys, and the number of acknowledged writes."""
    took: list[float] = []
    with tempfile.TemporaryDirectory(prefix="hanas-failover-") as directory:
        lab = Lab(directory, workers, overseer_port=0, first_port=0, preset=preset, tls=tls)
        async with (
            lab,
            lab.client(Policy(read=1.0)) as client,
            Writers(client, writers=4, rest=0.002) as load,
        ):
            for number in range(1, kills + 1):
                await load.more(_SETTLED_WRITES)
                while (cluster := await client.cluster()).epoch != load.epoch:
                    await load.more(1)  # the overseer learns of an epoch a moment later
                main, epoch = cluster.main, load.epoch
                if main is None:
                    raise SystemExit("there is no main although writes are acknowledged")
                killed_at = time.monotonic()
                await lab.kill(main.member)
                took.append(await load.acknowledged_after(epoch) - killed_at)
                print(f"kill {number:3}: {main.member} of epoch {epoch}, {took[-1]:.3f} s", flush=True)
                await lab.start_worker(main.member)
            lost = await load.missing()
            return took, lost, len(load.acknowledged)


def report(took: Sequence[float], lost: Sequence[str], acknowledged: int) -> dict[str, float]:
    """Return the figures, seconds."""
    ordered = sorted(took)
    return {
        "kills": len(ordered),
        "min": ordered[0],
        "median": statistics.median(ordered),
        "p99": percentile(ordered, 0.99),
        "max": ordered[-1],
        "acknowledged": acknowledged,
        "lost": len(lost),
    }


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--preset", choices=("lan", "cloud"), default="lan")
    parser.add_argument("--tls", action="store_true", help="all processes and the client speak TLS")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    took, lost, acknowledged = asyncio.run(
        measure(arguments.kills, arguments.workers, arguments.preset, tls=arguments.tls)
    )
    figures = report(took, lost, acknowledged)
    if arguments.json:
        print(json.dumps(figures))
    else:
        print(
            f"{figures['kills']} kills: median {figures['median']:.3f} s, p99 {figures['p99']:.3f} s, "
            f"min {figures['min']:.3f} s, max {figures['max']:.3f} s; "
            f"{acknowledged} writes acknowledged, {len(lost)} lost"
        )
    return 1 if lost else 0


if __name__ == "__main__":
    raise SystemExit(main())
