"""Tables for people: colours and lines on a terminal, tab-separated text elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hanas_client.documents import Cluster, Durations, Member, Takeover
from hanas_client.narration import Sentence, alert_sentence
from hanas_client.plain import plain

STYLES = {"good": "green", "bad": "yellow", "urgent": "bold red", "plain": ""}
ROLE_STYLES = {"main": "bold green", "elect": "yellow", "joining": "yellow"}


def console() -> Console:
    """Return standard output, without colours and wrapping if it is not a terminal."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def say(output: Console, sentence: Sentence) -> None:
    """Print one sentence in its colour."""
    output.print(Text(plain(sentence.text), style=STYLES[sentence.tone]), soft_wrap=True)


def show(output: Console, columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    """Print a table."""
    if not output.is_terminal:
        for row in (columns, *rows):
            print("\t".join(plain(str(cell)) for cell in row), file=output.file)  # rich would replace the tabs
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(cell) for cell in row))
    output.print(table)


def _cell(cell: str | Text) -> Text:
    return Text(plain(str(cell)), cell.style if isinstance(cell, Text) else "")


def show_cluster(output: Console, cluster: Cluster) -> None:
    """Print the cluster: a summary, its members, its failed links and its alerts."""
    main = cluster.main
    summary = f"epoch {cluster.epoch}, main {main.member} ({main.state})" if main else "there is no main"
    say(output, Sentence(summary, "good" if main and main.state == "serving" else "urgent"))
    columns = ("MEMBER", "ROLE", "EPOCH", "ALIVE", "SEEN", "VERDICT", "APPLIED", "LAG", "URL")
    show(output, columns, [_member_row(member) for member in cluster.members])
    for link in cluster.links:
        if link.state == "failed":
            since = "" if link.since_seconds is None else f" for {link.since_seconds:.0f} s"
            say(output, Sentence(f"link {link.source} → {link.target} failed{since}", "bad"))
    for alert in cluster.alerts:
        sentence = alert_sentence(alert)
        since = f" (since {alert.since})" if isinstance(alert.since, str) else ""
        say(output, Sentence(f"{sentence.text}{since}", sentence.tone))


def show_takeovers(output: Console, takeovers: Sequence[Takeover], *, verbose: bool) -> None:
    """Print the history of epochs; `verbose` adds the evidence of each."""
    rows = [
        (
            str(takeover.epoch),
            takeover.member,
            takeover.previous_main or "–",
            takeover.why,
            takeover.verdict or "–",
            takeover.claimed_at or "–",
            _duration(takeover.durations),
            takeover.words or "",
        )
        for takeover in takeovers
    ]
    show(output, ("EPOCH", "MAIN", "AFTER", "WHY", "VERDICT", "CLAIMED AT", "TOOK", "REASON"), rows)
    if verbose:
        for takeover in takeovers:
            if takeover.evidence is not None:
                say(output, Sentence(f"evidence for epoch {takeover.epoch}:"))
                for line in _evidence_lines(takeover.evidence):
                    output.out(f"  {plain(line)}", highlight=False)


def _member_row(member: Member) -> tuple[str | Text, ...]:
    alive = {True: Text("yes", "green"), False: Text("no", "bold red"), None: Text("?")}[member.alive]
    verdict = member.verdict or "–"
    return (
        member.member,
        Text(member.role or "–", ROLE_STYLES.get(member.role, "")),
        "–" if member.epoch is None else str(member.epoch),
        alive,
        "–" if member.seen_seconds_ago is None else f"{member.seen_seconds_ago:.1f} s ago",
        Text(verdict, "" if verdict in {"Healthy", "–", "Unknown"} else "yellow"),
        member.applied or "–",
        "–" if member.lag_bytes is None else f"{member.lag_bytes} B",
        member.advertise_url or "–",
    )


def _duration(durations: Durations | None) -> str:
    if durations is None:
        return "–"
    parts = f"{durations.detection:.3f} + {durations.claim:.3f} + {durations.replay:.3f}"
    return f"{durations.total:.3f} s = {parts} (detection, claim, replay)"


def _evidence_lines(evidence: object, indent: str = "") -> list[str]:
    if not isinstance(evidence, dict):
        return [f"{indent}{evidence}"]
    lines: list[str] = []
    for name, value in evidence.items():
        if isinstance(value, dict):
            lines.append(f"{indent}{name}:")
            lines.extend(_evidence_lines(value, indent + "  "))
        else:
            lines.append(f"{indent}{name}: {value}")
    return lines
