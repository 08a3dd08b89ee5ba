"""`make faults`: inject every known fault into a cluster of real processes, and record its verdicts.

With root it runs in its own namespaces, with a bindfs for each worker; it reports the faults that are impossible here.
Exit code 1 after a lost write, a history that is not linearizable, an event that is lost or doubled, a lock that two
hold, a lease that expires early, or a cluster that does not recover; with `--strict` also after a wrong verdict and a
late return that no pause of this machine explains.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from bench.faults import campaign, report
from bench.faults.campaign import Round, Stuck
from bench.faults.coordination import Coordinated
from bench.faults.soak import soak
from bench.faults.world import Conditions, enter_namespaces, world

from hanas_client.errors import HanasError
from hanas_lab import LabError, history
from hanas_lab.audit import LastValue, judge


def main() -> int:
    """Run the campaign, or only the lossy link."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="kills of the main (200)")
    parser.add_argument("--faults", type=int, default=322, help="other faults, all kinds by turns (322)")
    parser.add_argument("--only", metavar="KIND", action="append", default=[], help="only this kind of other fault")
    parser.add_argument("--minutes", type=float, default=120.0, help="the most minutes (120)")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the faults (1)")
    parser.add_argument("--strict", action="store_true", help="fail also after a wrong verdict or a late return")
    parser.add_argument("--preset", choices=("lan", "cloud"), default="lan", help="timings of the cluster (lan)")
    parser.add_argument("--clients", type=int, default=3, help="so many write, and so many read (3)")
    parser.add_argument("--serve", action="store_true", help="backups serve, and clients ask any worker")
    parser.add_argument("--hold", type=float, default=0.0, help="the least seconds of a fault of the folder (0)")
    parser.add_argument("--slowness", type=float, default=1.0, help="how many times slower this machine is (1)")
    parser.add_argument("--lossy-minutes", type=float, default=0.0, help="instead, only a lossy link for this long")
    parser.add_argument("--reports", type=Path, default=Path("reports/faults"), help="directory for the reports")
    arguments = parser.parse_args()
    enter_namespaces(sys.argv[1:])
    arguments.reports.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hanas-faults-") as directory:
        if arguments.lossy_minutes:
            figures = asyncio.run(soak(Path(directory), arguments.lossy_minutes, arguments.reports / "lossy.json"))
            print(figures)
            return 0 if figures["takeovers"] == 0 and figures["linearizable"] else 1
        return asyncio.run(_campaign(Path(directory), arguments))


async def _campaign(directory: Path, arguments: argparse.Namespace) -> int:
    began, stuck = time.monotonic(), ""
    values: dict[str, LastValue] | None = None
    rounds: list[Round] = []
    coordinated: Coordinated | None = None

    def report_round(played: Round) -> None:
        rounds.append(played)
        result = "ok   " if played.correct else "?    " if played.excused else "WRONG"
        took = "" if played.detected is None else f"  detected {played.detected:.3f} s"
        took += "" if played.failover is None else f"  failover {played.failover:.3f} s"
        took += "" if played.back is None else f"  written after {played.written} s, back after {played.back} s"
        took += f"  DEAF: {', '.join(played.deaf)}" if played.deaf else ""
        took += f"  this machine paused for {played.pause} s" if played.excused else ""
        print(f"{len(rounds):4} {result} {played.fault}: {played.concluded}{took}  {played.words}", flush=True)

    conditions = Conditions(arguments.preset, arguments.hold, arguments.slowness, arguments.clients, arguments.serve)
    async with world(directory, conditions) as cluster:
        chance = random.Random(arguments.seed)
        faults = campaign.plan(arguments.kills, arguments.faults, cluster.able, chance, arguments.only)
        able = sorted(cluster.able)
        print(f"{len(faults)} faults; possible here: {', '.join(able) or 'only processes and relays'}", flush=True)
        try:
            await campaign.run(cluster, faults, chance, began + arguments.minutes * 60, report_round)
            await cluster.clients.stop()
            await cluster.cold_start()
            values = await cluster.clients.last_values()
            coordinated = await cluster.coordination.stop(cluster.clients.history)
        except (Stuck, TimeoutError, HanasError, LabError) as error:
            stuck = str(error) or "no answer came in time"
            print(f"STUCK: {stuck}", flush=True)
        if stuck or not all(played.correct for played in rounds):
            for log in campaign.logs_of(cluster):
                shutil.copy(log, arguments.reports / log.name)
        await cluster.clients.stop()
        operations = cluster.clients.history
        history.write(arguments.reports / "history.jsonl", operations)
        verdict = judge(operations, values)
        coordinated = coordinated or cluster.coordination.judge_so_far(operations)
    summary = report.summary(
        rounds,
        verdict,
        coordinated,
        able=able,
        stuck=stuck,
        minutes=(time.monotonic() - began) / 60,
        machine=f"{platform.system()} {platform.release()}, Python {platform.python_version()}, seed {arguments.seed}",
    )
    report.write(arguments.reports, summary, rounds)
    print(report.markdown(summary))
    bad = summary["unsafe"] + (summary["wrong"] + summary["late"] if arguments.strict else 0)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
