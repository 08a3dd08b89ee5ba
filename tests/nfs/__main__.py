"""`make test-nfs`: HANas on real NFS mounts, each worker on one of its own.

The mounts are given by HANAS_NFS_MOUNTS and, to break the server and the ways to it, HANAS_NFS_FAULT
(bench/faults/export.py says what they mean). With `--machine` a program boots a machine for each version instead:

    PROGRAM --vers 3|4.1|4.2 --delegations on|off --options MOUNT_OPTIONS --mounts 4 --disk memory
            --disk-mib 1024 --time-limit SECONDS --out DIR -- COMMAND

It runs COMMAND in the present directory, with mounts /mnt/hanas-0 to /mnt/hanas-3, the command `nfs-fault` (the verbs
of bench/faults/export.py without those that fault.sh adds), and DIR writable as $OUT, and returns its exit code. Exit
code 1 if anything failed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from tests.nfs import parts, together

VERSIONS = ("3", "4.1", "4.2", "4.2-plain", "4.2-softerr", "4.2-soft")
"""`plain`: without delegations. `softerr`: an operation fails with ETIMEDOUT after 6 s instead of waiting for
ever. `soft`: with EIO."""
_FAULTS = "--kills 3 --faults 24 --hold 20 --clients 2 --strict"
_MOUNTS = 4
"""One for each worker, and one for the overseer and the tests."""
_DISK_MIB = 1024
"""Ample for the clusters of one module of tests: a folder of three workers takes some 160."""
_FAULT = Path(__file__).with_name("fault.sh")
_VARIANTS = {
    "": (),
    "plain": ("--delegations", "off"),
    "softerr": ("--options", "softerr,timeo=20,retrans=1"),
    "soft": ("--options", "soft,timeo=20,retrans=1"),
}


def main() -> int:
    """Run the parts here, or in a machine for each version."""
    parser = argparse.ArgumentParser(prog="python -m tests.nfs", description=__doc__)
    parser.add_argument("--machine", help="the program that boots a machine")
    parser.add_argument("--versions", nargs="+", default=VERSIONS[:4], choices=VERSIONS, help="%(default)s")
    parser.add_argument("--parts", nargs="+", default=tuple(parts.PARTS), choices=tuple(parts.PARTS))
    parser.add_argument("--tests", nargs="+", default=parts.TESTS, help="%(default)s")
    parser.add_argument("--faults", default=_FAULTS, help="for bench.faults, behind the kinds of NFS (%(default)s)")
    parser.add_argument("--short", action="store_true", help="what finds most in five minutes, of all three")
    parser.add_argument("--preset", default="cloud", choices=("lan", "cloud"), help="timings (cloud)")
    parser.add_argument("--slowness", type=float, default=3.0, help="how many times slower the machine is (3)")
    parser.add_argument(
        "--time-limit",
        type=float,
        default=7200,
        help="of each machine, seconds; the integration tests end after half of it, with what they have (7200)",
    )
    parser.add_argument("--reports", type=Path, default=Path("reports/nfs"), help="directory for the reports")
    given = parser.parse_args()
    if given.short:
        given.tests, given.faults = list(parts.SHORT_TESTS), parts.SHORT_FAULTS
    if given.machine is None:
        return parts.run(given)
    failed = [version for version in given.versions if not _boot(given, version)]
    print(together.write(given.reports, given.versions))
    print(f"failed: {', '.join(failed) or 'nothing'}")
    return 1 if failed else 0


def _boot(given: argparse.Namespace, version: str) -> bool:
    reports: Path = given.reports / version
    reports.mkdir(parents=True, exist_ok=True)
    for earlier in (*reports.glob("*.json"), *reports.glob("*.xml"), *reports.glob("*.log")):
        earlier.unlink()
    number, _, variant = version.partition("-")
    machine = [*shlex.split(given.machine), "--vers", number, *_VARIANTS[variant], "--mounts", str(_MOUNTS)]
    machine += [
        "--disk",
        "memory",
        "--disk-mib",
        str(_DISK_MIB),
        "--time-limit",
        str(given.time_limit),
        "--out",
        str(reports),
        "--",
    ]
    inside = [sys.executable, "-m", "tests.nfs", "--reports", "/out", "--parts", *given.parts, "--tests", *given.tests]
    inside += [f"--faults={given.faults}", "--preset", given.preset, "--slowness", str(given.slowness)]
    inside += ["--time-limit", str(given.time_limit)]
    inside += ["--short"] if given.short else []
    variables = {
        "HANAS_NFS_MOUNTS": ":".join(f"/mnt/hanas-{mount}" for mount in range(_MOUNTS)),
        "HANAS_NFS_FAULT": f"sh {_FAULT}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONFAULTHANDLER": "1",
    }
    began = time.monotonic()
    print(f"== NFS {version}", flush=True)
    setting = ("env", *(f"{key}={value}" for key, value in variables.items()))
    done = subprocess.run([*machine, *setting, *inside], check=False)
    print(f"== NFS {version}: exit code {done.returncode} after {time.monotonic() - began:.0f} s", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    raise SystemExit(main())
