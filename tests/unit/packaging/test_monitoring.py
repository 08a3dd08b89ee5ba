"""Rules for Prometheus, the dashboard and the monitors: they name what there is, and what the documents say."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import dashboard
from prometheus_client import CollectorRegistry, generate_latest

from hanas_core.members.verdicts import Severity, Verdict
from hanas_operator import names
from hanas_operator.objects import workloads
from hanas_serving.budget import Budget
from hanas_serving.exposure import Exposure
from hanas_serving.gauges import ConnectionsCollector
from hanas_serving.refusals import Refusals
from hanas_serving.relaying import Relays
from hanas_serving.tls import Tls
from hanas_serving.tls_state import TlsCollector
from hanas_worker.ops.memory import MemoryCollector
from hanas_worker.ops.metrics import NodeCollector
from tests.unit.core.scenery import bare_folder, serve
from tests.unit.operator.making import owner
from tests.unit.overseer.stage import Stage, running
from tests.unit.packaging.documents import ROOT, helm, of_kind
from tests.unit.packaging.test_chart import CHART, SETS, one, template
from tests.unit.tls.pki import Authority
from tests.unit.worker.nodes import backup_of

__all__ = ["helm"]

FILE = Path(CHART, "files/alerts.yaml")
RULES: list[dict[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["groups"][0]["rules"]
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
TARGET = {"namespace", "hanas", "component", "pod", "instance"}
"""The labels that targets have, whatever they tell."""
_QUERIES = [query.promql for panel in dashboard.panels() for query in panel.queries]


def section(title: str) -> str:
    """A chapter of docs/operations.md."""
    return re.split(r"^##+ ", OPERATIONS.partition(f"## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def documented() -> dict[str, set[str]]:
    """The labels of each metric in the document."""
    cells = "\n".join(row.split("|")[1] for row in section("Metrics").splitlines() if row.startswith("|"))
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"`((?:hanas|process)_\w+)(?:\{([^}]*)\})?`", cells):
        found.setdefault(name, set()).update(filter(None, labels.split(",")))
    return found


def named(query: str) -> set[str]:
    """The metrics that a query names."""
    return set(re.findall(r"\b(?:hanas|process)_\w+", query))


def labels(query: str) -> set[str]:
    """The labels that a query selects or groups by."""
    selected = re.findall(r"(\w+)=~?\"", query)
    grouped = [name for names_ in re.findall(r"\b(?:by|on) \(([^)]*)\)", query) for name in names_.split(", ")]
    return {*selected, *grouped}


async def test_every_metric_of_a_program_is_in_the_document_and_the_other_way_round(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    main = serve(bare_folder(), 1)
    registry, refusals = CollectorRegistry(), Refusals()
    node = backup_of(main, main.folder.other())
    node.host.relays = Relays(lambda: None, 1)
    collectors = (
        NodeCollector(node),
        Exposure(node.host.settings, node.host.settings.tls, node.host.credentials.callers),
        MemoryCollector(Budget()),
        ConnectionsCollector({}),
        TlsCollector(Tls(Authority(tmp_path_factory.mktemp("pki")).files())),
        refusals,
    )
    for collector in collectors:
        registry.register(collector)
    text = generate_latest(registry).decode()
    async with running(Stage(tmp_path)) as overseer:
        await overseer.watcher.observation()
        text += (await overseer.http.get("/metrics")).text
    there = set(re.findall(r"^# TYPE (hanas_\w+)", text, re.MULTILINE))
    told = {name for name in documented() if name.startswith("hanas_")}
    assert {name for name in there if not name.endswith("_created")} - told == set()
    assert told - there <= {"hanas_takeover_seconds"}, "this one comes with the first takeover"


@pytest.mark.parametrize("query", [*(rule["expr"] for rule in RULES), *_QUERIES])
def test_every_query_names_metrics_and_labels_that_there_are(query: str) -> None:
    known = documented()
    assert named(query), query
    for name in named(query):
        assert name in known, name
    theirs: set[str] = set().union(*(known[name] for name in named(query)))
    assert labels(query) <= theirs | TARGET


def test_every_legend_has_its_labels() -> None:
    for panel in dashboard.panels():
        for query in panel.queries:
            wanted = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
            grouped = re.findall(r"\bby \(([^)]*)\)", query.expression)
            there = set(grouped[0].split(", ")) if grouped else TARGET | documented()[min(named(query.expression))]
            assert wanted <= there, (panel.title, query)


def test_there_is_a_rule_for_each_alert_of_the_document() -> None:
    rows = [row.split("|")[1:3] for row in section("Alerts and verdicts").splitlines() if row.startswith("| `")]
    alerts: set[tuple[str, str]] = set()
    for kind, severity in rows:
        name = re.search(r"`(\w+)`", kind)
        if name is not None and severity.strip() in set(Severity):
            alerts.add((name.group(1), severity.strip()))
    alerts.add((Verdict.UNKNOWN, Severity.CRITICAL))  # "the same about the main"
    text = " ".join(rule["expr"] for rule in RULES)
    ruled = re.findall(r'hanas_alert\{kind="(\w+)", severity="(\w+)"\}', text)
    assert len(ruled) == len(set(ruled))
    assert set(ruled) == alerts
    assert {kind for kind, _ in ruled} <= set(Verdict)


def test_every_rule_is_in_the_document_with_its_severity() -> None:
    told: dict[str, str] = {}
    for row in section("Rules and a dashboard").splitlines():
        if row.startswith("| `"):
            found, severities = re.findall(r"`(HANas\w+)`", row), row.split("|")[2].strip().split(", ")
            told |= dict(zip(found, severities * len(found) if len(severities) == 1 else severities, strict=False))
    assert told == {rule["alert"]: rule["labels"]["severity"] for rule in RULES}
    for rule in RULES:
        assert {"summary", "description", "runbook"} <= rule["annotations"].keys()
        path, _, place = rule["annotations"]["runbook"].partition("#")
        titles = re.findall(r"^## (.*)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
        assert place in {title.lower().replace(" ", "-") for title in titles}


def test_the_dashboard_is_up_to_date_and_its_panels_do_not_overlap() -> None:
    text = dashboard.FILE.read_text(encoding="utf-8")
    assert text == dashboard.rendered(), "run: python manifests/dashboard.py"
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(text)["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= dashboard.COLUMNS
        taken |= cells


def test_nothing_of_it_is_made_unless_it_is_asked_for(helm: str) -> None:
    kinds = {document["kind"] for document in template(helm)}
    assert not kinds & {"PodMonitor", "PrometheusRule", "ServiceMonitor"}


def test_the_chart_makes_monitors_rules_and_the_dashboard(helm: str) -> None:
    documents = template(helm, *SETS["everything on"])
    monitor = one(documents, "PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["namespaceSelector"] == {"any": True}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    for workload in workloads.workloads(owner({"tls": {"mode": "Managed"}})):
        pod = workload["spec"]["template"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        ports = [port["name"] for container in pod["spec"]["containers"] for port in container["ports"]]
        assert endpoint["port"] in ports
        for relabeling in endpoint["relabelings"]:
            (source,) = relabeling["sourceLabels"]
            known = {
                f"__meta_kubernetes_pod_{kind}_{re.sub(r'[^a-z0-9]', '_', name)}"
                for kind, field in (("label", "labels"), ("annotation", "annotations"))
                for name in pod["metadata"][field]
            }
            assert source in known
    assert {relabeling["targetLabel"] for relabeling in endpoint["relabelings"]} == {"hanas", "component", "__scheme__"}
    assert endpoint["relabelings"][0]["replacement"] == "https"
    assert one(documents, "PrometheusRule")["spec"]["groups"][0]["rules"] == RULES
    (board,) = [each for each in of_kind(documents, "ConfigMap") if "hanas.json" in each["data"]]
    assert json.loads(board["data"]["hanas.json"]) == dashboard.document()
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    watched = template(helm, *SETS["two namespaces"], "metrics.clusters.podMonitor.enabled=true")
    assert one(watched, "PodMonitor")["spec"]["namespaceSelector"] == {"matchNames": ["one", "two"]}


def test_the_name_of_a_cluster_is_the_label_that_the_operator_gives() -> None:
    assert re.sub(r"\W", "_", names.CLUSTER) == "hanas_dev_cluster"
