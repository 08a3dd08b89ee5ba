"""Run many seeds and print the result: `make sim SEEDS=1000`, or one seed with its trace: `make sim SEED=92`."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import Pool

from tests.sim.simulation import Report, run

_PROGRESS_SECONDS = 10.0


@dataclass
class Tally:
    """The totals of many runs."""

    seeds: int = 0
    simulated_seconds: float = 0.0
    operations: int = 0
    acknowledged: int = 0
    commits: int = 0
    takeovers: int = 0
    slowest_recovery: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    watched: Counter[str] = field(default_factory=Counter)
    violations: list[Report] = field(default_factory=list)

    def add(self, report: Report) -> None:
        self.seeds += 1
        self.simulated_seconds += report.simulated_seconds
        self.operations += report.operations
        self.acknowledged += report.acknowledged
        self.commits += report.commits
        self.takeovers += report.takeovers
        self.slowest_recovery = max(self.slowest_recovery, report.recovered_in)
        self.faults.update(report.faults)
        self.watched.update(report.watched)
        if report.violation is not None:
            self.violations.append(report)

    def table(self, seconds: float) -> str:
        rows: list[tuple[str, object]] = [
            ("seeds", self.seeds),
            ("simulated hours", f"{self.simulated_seconds / 3600:.2f}"),
            ("client requests", self.operations),
            ("acknowledged writes", self.acknowledged),
            ("commits", self.commits),
            ("takeovers", self.takeovers),
            *((f"  {fault}", count) for fault, count in sorted(self.faults.items())),
            *sorted(self.watched.items()),
            ("slowest recovery, s", f"{self.slowest_recovery:.2f}"),
            ("seeds per second", f"{self.seeds / seconds:.1f}"),
            ("takeovers per second", f"{self.takeovers / seconds:.1f}"),
            ("violations", len(self.violations)),
        ]
        return "\n".join(f"{name:<36}{value:>14}" for name, value in rows)


def play(seeds: Iterable[int], jobs: int = 1) -> Iterator[Report]:
    """Yield the reports of many seeds; with ``jobs`` above 1 from as many processes, in any order."""
    if jobs == 1:
        yield from map(run, seeds)
        return
    with Pool(jobs, maxtasksperchild=500) as pool:
        yield from pool.imap_unordered(run, seeds, chunksize=10)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, help="play this one only, with its trace")
    wanted = parser.parse_args()
    if wanted.seed is not None:
        report = run(wanted.seed, tracing=True)
        print("\n".join(report.trace))
        print(f"seed {wanted.seed}: {report.violation or 'no violation'}")
        return report.violation is not None
    tally, started = Tally(), time.monotonic()
    said = started
    for report in play(range(wanted.first, wanted.first + wanted.seeds), wanted.jobs):
        tally.add(report)
        if report.violation is not None:
            print(f"seed {report.seed}: {report.violation}\n  replay it with: make sim SEED={report.seed}", flush=True)
        if time.monotonic() - said > _PROGRESS_SECONDS:
            said = time.monotonic()
            print(f"{tally.seeds} seeds, {tally.takeovers} takeovers", file=sys.stderr, flush=True)
    print(tally.table(time.monotonic() - started))
    return bool(tally.violations)


if __name__ == "__main__":
    sys.exit(main())
