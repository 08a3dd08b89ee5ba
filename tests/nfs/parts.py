"""What is tested on the mounts of HANAS_NFS_MOUNTS: one command after the other."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bench.faults import export

_PYTEST = (sys.executable, "-m", "pytest", "--verbose", "-p", "no:cacheprovider", "--durations=10", "--durations-min=5")
"""Verbose: each outcome is told at once, also where a time limit ends the machine."""
_ROOM = ("-o", "tmp_path_retention_policy=none")
"""A folder of three workers takes some 160 MiB; tests/integration/conftest.py removes those that modules share."""
_TEST_SECONDS = 120
_SAID_CHARACTERS = 1500
_TESTS_SHARE = 0.5
"""Of the time limit: integration tests that take longer end in a failure, with their reports, before the campaign."""
_OWN_VOLUME = "it brings a small volume of its own, which is none of NFS; the campaign fills the export"
_REQUESTS = "it is about the words of requests, to workers that go on running; the folder only has to be there"
_STARTS = "it is about one process, its variables and its terminal"
_CERTIFICATES = "it is about certificates; its workers share one mount"
_CLIENTS = "it is about clients; the campaign watches, transacts and holds locks over each of its faults on NFS"
NOT_ON_NFS = {
    "full_volume": _OWN_VOLUME,
    "full_directory": _OWN_VOLUME,
    **dict.fromkeys(("api_backup", "api_conditions", "api_errors", "api_keys", "api_lists", "api_values"), _REQUESTS),
    **dict.fromkeys(("direct", "meaning", "tokens"), _REQUESTS),
    "refused_starts": _STARTS,
    "terminal": _STARTS,
    **dict.fromkeys(("serving_over_tls", "tls"), _CERTIFICATES),
    **dict.fromkeys(("bench", "coordination", "documented_coordination"), _CLIENTS),
}
"""The integration tests that are left out unless they are asked for by name, and why."""


def integration(name: str) -> str:
    """Return the path of a module of integration tests."""
    return f"tests/integration/test_{name}.py"


KINDS = (
    "main stopped",
    "main's folder hung",
    "main's and a backup's folder hung",
    "main's and the overseer's folder hung",
    "overseer's folder hung, main killed",
    "main's folder times out",
    "main's and a backup's folder time out",
    "backup's folder hung",
    "backup's folder hung, main killed",
    "both backups' folders hung",
    "a backup's and the overseer's folder hung",
    "server stopped",
    "server crashed and rebooted",
    "backup's folder hung, server rebooted",
    "server slow by 100 ms",
    "export read-only",
    "export withdrawn",
    "volume full",
)
"""The faults that differ on NFS; the others are those of links and processes."""

TESTS = ("tests/integration", "tests/attacks/test_folder_taken_away.py")
"""On NFS, who takes files away makes handles stale."""
SHORT_FAULTS = " ".join(
    (
        "--kills 1 --faults 3 --hold 8 --clients 2",
        *(f'--only "{kind}"' for kind in ("main's folder hung", "server stopped", "server crashed and rebooted")),
    )
)
SHORT_TESTS = tuple(map(integration, ("by_hand", "cold_starts", "hand_over", "links", "restarts", "takeover")))
"""Those in which the folder matters most."""


def _folder(given: argparse.Namespace) -> Sequence[str]:
    return (
        *_PYTEST,
        f"--junitxml={given.reports / 'folder.xml'}",
        f"--timeout={_TEST_SECONDS * given.slowness}",
        "tests/nfs/test_commands.py" if given.short else "tests/nfs",
    )


def _integration(given: argparse.Namespace) -> Sequence[str]:
    directory = tempfile.mkdtemp(prefix="tests-", dir=export.mounts()[-1])
    left_out = [f"--ignore={path}" for path in map(integration, NOT_ON_NFS) if path not in given.tests]
    timeouts = f"--timeout={_TEST_SECONDS * given.slowness}", f"--session-timeout={given.time_limit * _TESTS_SHARE}"
    places = f"--basetemp={directory}/pytest", f"--junitxml={given.reports / 'integration.xml'}"
    return *_PYTEST, *left_out, *timeouts, *_ROOM, *places, *given.tests


def _faults(given: argparse.Namespace) -> Sequence[str]:
    conditions = ("--preset", given.preset, "--slowness", str(given.slowness), "--reports", str(given.reports))
    options = shlex.split(given.faults)
    kinds = [] if "--only" in options else [f"--only={kind}" for kind in KINDS]
    return sys.executable, "-m", "bench.faults", *conditions, *kinds, *options


PARTS: dict[str, Callable[[argparse.Namespace], Sequence[str]]] = {
    "folder": _folder,
    "integration": _integration,
    "faults": _faults,
}


def run(given: argparse.Namespace) -> int:
    """Run the parts; 1 if one of them failed. Its exit codes and times go to `parts.json` of the reports."""
    if not export.mounts():
        raise SystemExit("HANAS_NFS_MOUNTS is not set: name mounts of one export, or a program: make test-nfs NFS=PATH")
    reports: Path = given.reports
    reports.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"HANAS_TEST_PRESET": given.preset, "HANAS_TEST_SLOWNESS": str(given.slowness)}
    results: dict[str, dict[str, Any]] = {}
    for name in given.parts:
        began = time.monotonic()
        print(f"-- {name}", flush=True)
        outcomes = reports / f"{name}.xml"
        outcomes.unlink(missing_ok=True)
        code = subprocess.run(PARTS[name](given), env=environment, check=False).returncode
        results[name] = {
            "exit code": code,
            "seconds": round(time.monotonic() - began, 1),
            "outcomes": _outcomes(outcomes),
            "troubles": _troubles(outcomes),
        }
        print(f"-- {name}: exit code {code} after {results[name]['seconds']} s", flush=True)
        (reports / "parts.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 1 if any(result["exit code"] for result in results.values()) else 0


def _cases(report: Path) -> list[ElementTree.Element]:
    """Return the tests of pytest's report; none where there is no report."""
    return list(ElementTree.parse(report).getroot().iter("testcase")) if report.exists() else []


def _troubles(report: Path) -> list[str]:
    """Return the names of the tests that failed, each with the end of what it said: there a story says why it ended."""
    return [
        f"{case.get('name')}: {(part.text or '')[-_SAID_CHARACTERS:]}"
        for case in _cases(report)
        for part in case
        if part.tag in {"failure", "error"}
    ]


def _outcomes(report: Path) -> dict[str, int]:
    """Return how many tests passed, failed, or were skipped."""
    said = {"failure": "failed", "error": "failed", "skipped": "skipped"}
    return dict(
        Counter(next((said[part.tag] for part in case if part.tag in said), "passed") for case in _cases(report))
    )
