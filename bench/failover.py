"""The time of a failover: from kill -9 of the main under load to the first write that another main acknowledges.

Prints each kill and, at the end, the distribution; exits non-zero if an acknowledged write was lost. With TLS also the
same without, in turns, and the ratio.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field

from hanas_client import Policy
from hanas_client.load import percentile
from hanas_lab.cluster import Lab
from hanas_lab.writers import Writers

_SETTLED_WRITES = 50
_TURN = 5
"""Kills of one kind before it is the other's turn."""


@dataclass
class Kills:
    """What kills have shown."""

    took: list[float] = field(default_factory=list)
    """Seconds of each failover."""
    lost: list[str] = field(default_factory=list)
    """Keys."""
    acknowledged: int = 0
    """Writes."""

    def figures(self) -> dict[str, float]:
        """Return the distribution, seconds."""
        ordered = sorted(self.took)
        return {
            "kills": len(ordered),
            "min": ordered[0],
            "median": statistics.median(ordered),
            "p99": percentile(ordered, 0.99),
            "max": ordered[-1],
            "acknowledged": self.acknowledged,
            "lost": len(self.lost),
        }

    def sentence(self) -> str:
        """Return it for people."""
        figures = self.figures()
        return (
            f"{figures['kills']} kills: median {figures['median']:.3f} s, p99 {figures['p99']:.3f} s, "
            f"min {figures['min']:.3f} s, max {figures['max']:.3f} s; "
            f"{self.acknowledged} writes acknowledged, {len(self.lost)} lost"
        )


async def measure(result: Kills, kills: int, workers: int, preset: str, *, tls: bool) -> None:
    """Kill so many mains of a new lab, and add what that shows to the result."""
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
                result.took.append(await load.acknowledged_after(epoch) - killed_at)
                print(f"kill {number:3}: {main.member} of epoch {epoch}, {result.took[-1]:.3f} s", flush=True)
                await lab.start_worker(main.member)
            result.lost += await load.missing()
            result.acknowledged += len(load.acknowledged)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--preset", choices=("lan", "cloud"), default="lan")
    parser.add_argument("--tls", action="store_true", help="so many with TLS and so many without, five in turns")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args()
    sides = {"plain": Kills(), "tls": Kills()} if arguments.tls else {"plain": Kills()}
    turn = _TURN if arguments.tls else arguments.kills
    for begun in range(0, arguments.kills, turn):
        for name, side in sides.items():
            kills = min(turn, arguments.kills - begun)
            asyncio.run(measure(side, kills, arguments.workers, arguments.preset, tls=name == "tls"))
    figures = {name: side.figures() for name, side in sides.items()}
    if arguments.json:
        print(json.dumps(figures if arguments.tls else figures["plain"]))
    else:
        for name, side in sides.items():
            print(f"{name}: {side.sentence()}" if arguments.tls else side.sentence())
        if arguments.tls:
            print(f"median with TLS / without: {figures['tls']['median'] / figures['plain']['median']:.2f}")
    return 1 if any(side.lost for side in sides.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
