"""One report on all versions, from the reports of each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_HEALED_SECONDS = 10.0


def write(reports: Path) -> str:
    """Write `nfs.md` and return it."""
    lines = [
        "# On NFS",
        "",
        "| version | verdicts right | takeovers for nothing | lost | operations | parts |",
        "|---" * 6 + "|",
    ]
    campaigns = {path.parent.name: json.loads(path.read_text()) for path in sorted(reports.glob("*/faults.json"))}
    for version, campaign in campaigns.items():
        lines.append(_line(reports / version, version, campaign["summary"]))
    for version, campaign in campaigns.items():
        lines += ["", f"## NFS {version}", "", *_table(campaign["rounds"])]
    text = "\n".join(lines) + "\n"
    (reports / "nfs.md").write_text(text, encoding="utf-8")
    return text


def _line(directory: Path, version: str, summary: dict[str, Any]) -> str:
    parts = json.loads((directory / "parts.json").read_text()) if (directory / "parts.json").exists() else {}
    said = ", ".join(f"{name} {'ok' if not part['exit code'] else 'FAILED'}" for name, part in parts.items())
    order = "linearizable" if summary["linearizable"] else "NOT linearizable"
    return (
        f"| {version} | {summary['right']} of {summary['faults']} | {summary['false takeovers']} "
        f"| {summary['lost writes']} | {summary['operations']}, {order} | {said} |"
    )


def _table(rounds: list[dict[str, Any]]) -> list[str]:
    return [str(played["fault"]) for played in rounds]
