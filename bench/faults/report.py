"""The results of the campaign, for people (Markdown, SVG) and for machines (JSON)."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from bench.faults import plots
from bench.faults.campaign import HEALED_SECONDS, Round
from bench.faults.catalogue import KILL
from bench.faults.coordination import Coordinated

from hanas_client.load import percentile
from hanas_lab.audit import Judgement


def distribution(values: Sequence[float]) -> dict[str, float] | None:
    """Return the figures of `values`, seconds; None without values."""
    ordered = sorted(values)
    if not ordered:
        return None
    return {
        "n": len(ordered),
        "min": round(ordered[0], 3),
        "median": round(statistics.median(ordered), 3),
        "p90": round(percentile(ordered, 0.90), 3),
        "p99": round(percentile(ordered, 0.99), 3),
        "max": round(ordered[-1], 3),
    }


def summary(
    rounds: Sequence[Round],
    verdict: Judgement,
    coordinated: Coordinated,
    *,
    able: Sequence[str],
    stuck: str,
    minutes: float,
    machine: str,
) -> dict[str, Any]:
    """Return all figures."""
    kinds: defaultdict[str, list[Round]] = defaultdict(list)
    for played in rounds:
        kinds[played.fault].append(played)
    kills = [played for played in rounds if played.fault == KILL.name]
    false = sum(played.false_takeover for played in rounds)
    return {
        "machine": machine,
        "minutes": round(minutes, 1),
        "possible": list(able),
        "faults": len(rounds),
        "right": sum(played.correct for played in rounds),
        "wrong": sum(not played.correct and not played.excused for played in rounds),
        "late": sum(played.late and not played.excused for played in rounds),
        "excused": sum((played.late or not played.correct) and played.excused for played in rounds),
        "deaf": sum(bool(played.deaf) and not played.excused for played in rounds),
        "false takeovers": false,
        "lost writes": len(verdict.lost),
        "operations": verdict.operations,
        "linearizable": not verdict.violations and not verdict.given_up,
        "judgement": str(verdict),
        "stuck": stuck,
        "coordination": msgspec.to_builtins(coordinated),
        "unsafe": len(verdict.lost) + len(verdict.violations) + coordinated.unsafe + bool(stuck),
        "failover of a killed main": distribution([played.failover for played in kills if played.failover is not None]),
        "pause at surviving workers": distribution(
            [played.survivors_pause for played in kills if played.survivors_pause is not None]
        ),
        "errors at surviving workers": sum(played.survivors_errors for played in kills),
        "split of a killed main": {
            part: distribution([played.split[part] for played in kills if played.split])
            for part in ("detection", "claim", "replay", "total")
        },
        "kinds": {
            name: {
                "n": len(played),
                "right": sum(each.correct for each in played),
                "expected": list(played[0].right),
                "concluded": dict(Counter(each.concluded for each in played).most_common()),
                "detected": distribution([each.detected for each in played if each.detected is not None]),
                "failover": distribution([each.failover for each in played if each.failover is not None]),
                "silence": distribution([each.silence for each in played if each.silence is not None]),
                "written": distribution([each.written for each in played if each.written is not None]),
                "back": distribution([each.back for each in played if each.back is not None]),
            }
            for name, played in sorted(kinds.items())
        },
    }


def markdown(results: dict[str, Any]) -> str:
    """Return the report for people."""
    share = 100 * results["right"] / results["faults"] if results["faults"] else 0.0
    lines = [
        "# Faults",
        "",
        f"{results['machine']}; {results['minutes']} minutes; possible: {', '.join(results['possible']) or 'relays'}.",
        "",
        f"- **{results['right']} of {results['faults']} verdicts right** ({share:.1f} %)",
        f"- **{results['false takeovers']} takeovers for nothing**, {results['lost writes']} acknowledged writes lost",
        f"- {results['operations']} operations {'linearizable' if results['linearizable'] else 'NOT linearizable'}",
        f"- a killed main: {_figures(results['failover of a killed main'])} until the next acknowledged write",
    ]
    lines += _coordination(results["coordination"])
    if results["pause at surviving workers"] is not None:
        pauses = _figures(results["pause at surviving workers"])
        lines.append(
            f"- its clients at other workers waited for {pauses}; {results['errors at surviving workers']} errors"
        )
    lines += [
        f"- {results['late']} times later than {HEALED_SECONDS:.0f} s back after the volume, without a hand",
        f"- {results['deaf']} times a worker that ran did not answer",
        f"- {results['excused']} wrong verdicts and late returns while this machine paused longer than their patience",
    ]
    if results["stuck"]:
        lines.append(f"- **stuck**: {results['stuck']}")
    columns = sorted({concluded for kind in results["kinds"].values() for concluded in kind["concluded"]})
    lines += ["", "## Injected × concluded", "", "| injected | " + " | ".join(columns) + " | right |"]
    lines.append("|---" * (len(columns) + 2) + "|")
    for name, kind in results["kinds"].items():
        cells = [
            f"**{kind['concluded'][column]}**"
            if column in kind["expected"] and column in kind["concluded"]
            else str(kind["concluded"].get(column, ""))
            for column in columns
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {kind['right']} of {kind['n']} |")
    lines += ["", "Right verdicts are bold.", "", "## Times, seconds", ""]
    lines += ["| injected | n | detected, median | p99 | max | failover, median | p99 | max |", "|---" * 8 + "|"]
    for name, kind in results["kinds"].items():
        lines.append(f"| {name} | {kind['n']} | {_cells(kind['detected'])} | {_cells(kind['failover'])} |")
    lines += ["", *overview(results)]
    lines += ["", "The failover of a killed main, as the new main reports it:", ""]
    lines += ["| part | median | p99 | max |", "|---|---|---|---|"]
    lines += [f"| {part} | {_cells(figures)} |" for part, figures in results["split of a killed main"].items()]
    return "\n".join(lines) + "\n"


def _coordination(figures: dict[str, Any]) -> list[str]:
    wrong = {name: figures[f"{name}_violations"] for name in ("watch", "transaction", "lease")}
    told = f"{figures['events']} revisions told over {figures['streams']} streams"
    taken = f"taken {figures['locks']} times, left to expire {figures['expired']} times"
    lines = [
        f"- watches: {told}, {figures['forgotten']} times forgotten; **{len(wrong['watch'])} lost or doubled**",
        f"- {figures['transactions']} transactions: **{len(wrong['transaction'])} violations**",
        f"- locks: {taken}; **{len(wrong['lease'])} expired early or held by two**",
    ]
    return lines + [f"    - {violation}" for violations in wrong.values() for violation in violations]


def overview(results: dict[str, Any]) -> list[str]:
    """Return a table of the times of each kind, from the fault and from the return of the volume."""
    columns = ("detected", "failover", "silence", "written", "back")
    titles = ("detected", "next write by a new main", "without an acknowledged write", "next write", "all well")
    lines = [
        "Seconds, median / most; the last two since the return of the volume:",
        "",
        "| injected | right | " + " | ".join(titles) + " |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for name, kind in results["kinds"].items():
        cells = " | ".join(_two(kind[column]) for column in columns)
        lines.append(f"| {name} | {kind['right']} of {kind['n']} | {cells} |")
    return lines


def write(directory: Path, results: dict[str, Any], rounds: Sequence[Round]) -> None:
    """Write everything into `directory`."""
    content = {"summary": results, "rounds": msgspec.to_builtins(list(rounds))}
    (directory / "faults.json").write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
    (directory / "faults.md").write_text(markdown(results), encoding="utf-8")
    failovers: defaultdict[str, list[float]] = defaultdict(list)
    detections: defaultdict[str, list[float]] = defaultdict(list)
    for played in rounds:
        if played.failover is not None:
            failovers[played.fault].append(played.failover)
        elif played.detected is not None:
            detections[played.fault].append(played.detected)
    for name, cases in (("failover", failovers), ("detection", detections)):
        title = "seconds until a new main acknowledged a write" if name == "failover" else "seconds until the verdict"
        (directory / f"{name}.svg").write_text(plots.shares(title, dict(sorted(cases.items()))), encoding="utf-8")


def _figures(figures: dict[str, float] | None) -> str:
    if figures is None:
        return "no figures"
    times = ", ".join(f"{name} {figures[name]:.3f} s" for name in ("median", "p99", "max"))
    return f"{times} (n = {figures['n']:.0f})"


def _two(figures: dict[str, float] | None) -> str:
    return "–" if figures is None else f"{figures['median']:.2f} / {figures['max']:.2f}"


def _cells(figures: dict[str, float] | None) -> str:
    return " | ".join("–" if figures is None else f"{figures[name]:.3f}" for name in ("median", "p99", "max"))
