"""One report on all versions, from the reports of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.faults import report

_COLUMNS = ("verdicts right", "excused", "takeovers for nothing", "late", "deaf", "lost", "operations", "parts")


def write(reports: Path, versions: list[str]) -> str:
    """Write `nfs.md` and return it."""
    lines = ["# On NFS", "", "| version | " + " | ".join(_COLUMNS) + " |", "|---" * (len(_COLUMNS) + 1) + "|"]
    tables: list[str] = []
    troubles: list[str] = []
    for version in versions:
        parts, campaign = (_read(reports / version / name) for name in ("parts.json", "faults.json"))
        lines.append(_line(version, parts, campaign.get("summary")))
        troubles += [f"{version}: {trouble}" for part in parts.values() for trouble in part["troubles"]]
        if campaign:
            tables += [
                "",
                f"## NFS {version}",
                "",
                campaign["summary"]["machine"],
                "",
                *report.overview(campaign["summary"]),
            ]
    told = [line for trouble in troubles for line in ("", "```", trouble, "```")]
    text = "\n".join([*lines, *tables, *(["", "## What failed", *told] if told else [])]) + "\n"
    (reports / "nfs.md").write_text(text, encoding="utf-8")
    return text


def _read(path: Path) -> dict[str, Any]:
    """Return the document, empty if that part did not run to its end."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return document


def _line(version: str, parts: dict[str, Any], summary: dict[str, Any] | None) -> str:
    said = "; ".join(_part(name, part) for name, part in parts.items())
    if summary is None:
        return f"| {version} |" + " |" * (len(_COLUMNS) - 1) + f" {said} |"
    order = "linearizable" if summary["linearizable"] else "NOT linearizable"
    cells = [f"{summary['right']} of {summary['faults']}", *(summary[name] for name in ("excused", "false takeovers"))]
    cells += [summary["late"], summary["deaf"], summary["lost writes"], f"{summary['operations']}, {order}", said]
    return f"| {version} | " + " | ".join(map(str, cells)) + " |"


def _part(name: str, part: dict[str, Any]) -> str:
    """`integration ok: 97 passed, 2 skipped, 1803 s`."""
    counts = [f"{count} {outcome}" for outcome, count in sorted(part["outcomes"].items())]
    figures = ", ".join([*counts, f"{part['seconds']:.0f} s"])
    return f"{name} {'failed' if part['exit code'] else 'ok'}: {figures}"
