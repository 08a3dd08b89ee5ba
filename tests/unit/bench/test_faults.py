"""The campaign's plan and its report: what is due is played, and what was found is told as it was."""

import json
import random
import xml.etree.ElementTree as ET
from pathlib import Path

from bench.faults import campaign, plots, report
from bench.faults.campaign import Round
from bench.faults.catalogue import CATALOGUE, KILL
from bench.faults.coordination import Coordinated
from msgspec.structs import replace

from hanas_lab.audit import Judgement
from tests.nfs.parts import KINDS, NOT_ON_NFS, integration

ALL = frozenset({"network", "mounts", "ways", "hard", "soft", "volume", "server", "overseer's way"})


def played(fault: str, concluded: str, **changes: object) -> Round:
    right = ("PrimaryFailed",)
    given: dict[str, object] = {
        "fault": fault,
        "right": right,
        "concluded": concluded,
        "correct": concluded in right,
        "false_takeover": False,
        "detected": 0.5,
        "failover": 0.7,
        "split": {"detection": 0.5, "claim": 0.01, "replay": 0.02, "total": 0.53},
    }
    return Round(**(given | changes))  # type: ignore[arg-type]


WELL = Coordinated(
    events=5,
    streams=4,
    transactions=3,
    locks=2,
    expired=1,
    forgotten=0,
    watch_violations=[],
    transaction_violations=[],
    lease_violations=[],
)


def summary(
    rounds: list[Round], verdict: Judgement, stuck: str = "", coordinated: Coordinated = WELL
) -> dict[str, object]:
    return report.summary(rounds, verdict, coordinated, able=["mounts"], stuck=stuck, minutes=1.0, machine="here")


def test_every_kind_is_played_as_often_as_any_other() -> None:
    chosen = campaign.plan(3, 2 * len(CATALOGUE), ALL, random.Random(1))
    assert chosen.count(KILL) == 3
    assert all(chosen.count(fault) == 2 for fault in CATALOGUE)
    assert chosen != campaign.plan(3, 2 * len(CATALOGUE), ALL, random.Random(2)), "in another order with another seed"


def test_what_cannot_be_made_here_is_left_out() -> None:
    chosen = campaign.plan(0, 100, frozenset(), random.Random(1))
    assert chosen
    assert all(not fault.needs for fault in chosen)


def test_only_some_kinds() -> None:
    chosen = campaign.plan(0, 4, ALL, random.Random(1), only=["main stopped"])
    assert [fault.name for fault in chosen] == ["main stopped"] * 4
    assert campaign.plan(0, 4, frozenset(), random.Random(1), only=["volume full"]) == []


def test_a_clean_campaign_is_safe() -> None:
    found = summary([played("main killed", "PrimaryFailed")], Judgement(10, 2))
    assert (found["faults"], found["right"], found["unsafe"]) == (1, 1, 0)
    text = report.markdown(found)
    assert "1 of 1 verdicts right" in text
    assert "| main killed | **1** | 1 of 1 |" in text


def test_a_lock_that_two_hold_is_unsafe_and_shown() -> None:
    found = summary([], Judgement(0, 0), coordinated=replace(WELL, lease_violations=["lock/0 was held by two"]))
    assert found["unsafe"] == 1
    assert "    - lock/0 was held by two" in report.markdown(found)


def test_a_wrong_verdict_is_shown_where_it_fell() -> None:
    rounds = [played("main killed", "PrimaryFailed"), played("main killed", "nothing", failover=None, split=None)]
    text = report.markdown(summary(rounds, Judgement(10, 2)))
    assert "| main killed | **1** | 1 | 1 of 2 |" in text


def test_a_cluster_that_stays_unwell_is_unsafe() -> None:
    found = summary([], Judgement(0, 0), stuck="not well within 90 s")
    assert found["unsafe"] == 1
    assert "stuck" in report.markdown(found)


def test_the_figures_of_nothing_are_none() -> None:
    assert report.distribution([]) is None
    figures = report.distribution([3.0, 1.0, 2.0])
    assert figures == {"n": 3, "min": 1.0, "median": 2.0, "p90": 3.0, "p99": 3.0, "max": 3.0}


def test_the_reports_are_written(tmp_path: Path) -> None:
    rounds = [played("main killed", "PrimaryFailed"), played("link cut", "LinkFailed", failover=None)]
    report.write(tmp_path, summary(rounds, Judgement(10, 2)), rounds)
    written = json.loads((tmp_path / "faults.json").read_text())
    assert [each["fault"] for each in written["rounds"]] == ["main killed", "link cut"]
    assert {path.name for path in tmp_path.iterdir()} == {"faults.json", "faults.md", "failover.svg", "detection.svg"}


def test_a_plot_is_a_drawing() -> None:
    drawing = plots.shares("a <b>", {"one & two": [0.5, 1.0], "none": []})
    assert ET.fromstring(drawing).tag.endswith("svg")
    assert "one &amp; two (2)" in drawing


def test_a_late_return_counts_unless_this_machine_paused_or_a_hand_was_needed() -> None:
    rounds = [played("server stopped", "PrimaryFailed", back=seconds) for seconds in (9.0, 11.0)]
    rounds.append(played("server stopped", "PrimaryFailed", back=11.0, excused=True))
    rounds.append(played("main stopped", "PrimaryFailed", back=11.0, by_hand=True))
    found = summary(rounds, Judgement(10, 2))
    assert (found["late"], found["excused"], found["wrong"]) == (1, 1, 0)
    line = "| server stopped | 3 of 3 | 0.50 / 0.50 | 0.70 / 0.70 | – | – | 11.00 / 11.00 |"
    assert line in report.overview(found)


def test_a_wrong_verdict_is_excused_by_a_pause_only() -> None:
    rounds = [played("main killed", "nothing", excused=excused) for excused in (False, True)]
    found = summary(rounds, Judgement(10, 2))
    assert (found["right"], found["wrong"], found["excused"]) == (0, 1, 1)


def test_the_kinds_of_nfs_are_in_the_catalogue() -> None:
    assert {fault.name for fault in campaign.plan(0, len(KINDS), ALL, random.Random(1), KINDS)} == set(KINDS)


def test_what_is_left_out_on_nfs_is_there() -> None:
    assert [name for name in NOT_ON_NFS if not Path(integration(name)).exists()] == []
