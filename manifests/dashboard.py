"""Writes the Grafana dashboard of the chart, from a short list of its panels: ``python manifests/dashboard.py``.

Its labels are those that the chart's PodMonitor sets: namespace, hanas (the name of the resource), component and pod.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).parents[1] / "charts/hanas/files/dashboard.json"
COLUMNS = 24
"""Grafana's grid."""
HEIGHT = 7
_WHICH = 'namespace="$namespace", hanas="$hanas"'
SOURCE = {"type": "prometheus", "uid": "${source}"}


class Query(NamedTuple):
    """A line, or several. `expression`: with `{…}` where the labels of the cluster belong."""

    expression: str
    legend: str

    @property
    def promql(self) -> str:
        """The expression for the chosen cluster."""
        return self.expression.replace("…", _WHICH)


class Panel(NamedTuple):
    """One panel of a row."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    what: str = ""
    """For people, in the panel's tooltip."""


ROWS: tuple[tuple[Panel, ...], ...] = (
    (
        Panel(
            "Workers that serve", (Query("sum(hanas_serving{…})", "main"),), kind="stat", what="1, but for takeovers"
        ),
        Panel("Epoch", (Query("max(hanas_epoch{…})", "epoch"),), kind="stat"),
        Panel("Keys", (Query("max(hanas_keys{…})", "keys"),), kind="stat"),
        Panel("Values", (Query("max(hanas_value_bytes{…})", "bytes"),), "bytes", "stat"),
        Panel(
            "Members alive",
            (Query("max(sum by (pod) (hanas_member_alive{…}))", "alive"),),
            kind="stat",
            what="As an overseer sees them",
        ),
        Panel(
            "Open alerts",
            (Query("sum(max by (kind, about, severity) (hanas_alert{…}) or vector(0))", "alerts"),),
            kind="stat",
        ),
    ),
    (
        Panel(
            "Main",
            (Query("max by (pod) (hanas_serving{…})", "{{pod}}"),),
            kind="state-timeline",
            what="Which worker serves; a gap is a takeover",
        ),
        Panel("Alerts", (Query("max by (kind, about) (hanas_alert{…})", "{{kind}} {{about}}"),), kind="state-timeline"),
    ),
    (
        Panel(
            "Writes",
            (
                Query("sum(rate(hanas_revision{…}[1m]) and on (pod) (hanas_serving{…} == 1))", "writes"),
                Query("sum(rate(hanas_batches_total{…}[1m]))", "batches"),
            ),
            "ops",
            what="Writes and deletes, and the batches in which they are synced",
        ),
        Panel("Checks for reads", (Query("sum(rate(hanas_checks_total{…}[1m]))", "checks"),), "ops"),
        Panel("Longest wait at the main", (Query("max(hanas_stalled_seconds{…})", "wait"),), "s"),
    ),
    (
        Panel(
            "Writes that are not applied",
            (Query("scalar(max(hanas_revision{…})) - hanas_revision{…}", "{{pod}}"),),
            what="How far each worker is behind the main, give or take the time between two scrapes",
        ),
        Panel("Failed links", (Query("max by (from, to) (hanas_link_failed{…})", "{{from}} to {{to}}"),)),
        Panel("Last takeover", (Query("max by (part) (hanas_takeover_seconds{…})", "{{part}}"),), "s"),
    ),
    (
        Panel(
            "Folder works",
            (Query("min by (pod) (hanas_folder_ok{…})", "{{pod}}"),),
            kind="state-timeline",
        ),
        Panel("Age of an overseer's look", (Query("hanas_overseer_folder_age_seconds{…}", "{{pod}}"),), "s"),
        Panel(
            "Log and garbage",
            (Query("max(hanas_log_bytes{…})", "log"), Query("max(hanas_garbage_bytes{…})", "garbage")),
            "bytes",
        ),
    ),
    (
        Panel("Connections", (Query("hanas_connections{…}", "{{pod}} {{port}}"),)),
        Panel(
            "Refused and failed",
            (Query("sum by (status) (rate(hanas_http_errors_total{…}[1m]))", "{{status}}"),),
            "ops",
        ),
        Panel("Memory of requests", (Query("hanas_memory_used_bytes{…}", "{{pod}}"),), "bytes"),
    ),
    (
        Panel(
            "Calls of etcd's API",
            (Query("sum by (method) (rate(hanas_etcd_requests_total{…}[1m]))", "{{method}}"),),
            "ops",
        ),
        Panel("Connections of etcd's API carried to the main", (Query("hanas_etcd_relayed{…}", "{{pod}}"),)),
        Panel("... that wait for one", (Query("hanas_etcd_waiting{…}", "{{pod}}"),)),
    ),
    (
        Panel("CPU", (Query("rate(process_cpu_seconds_total{…}[1m])", "{{pod}}"),), "percentunit"),
        Panel("Memory", (Query("process_resident_memory_bytes{…}", "{{pod}}"),), "bytes"),
    ),
)


def panels() -> Iterator[Panel]:
    """Every panel."""
    for row in ROWS:
        yield from row


def document() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    made: list[dict[str, Any]] = []
    top = 0
    for row in ROWS:
        height = 4 if row[0].kind == "stat" else HEIGHT
        width = COLUMNS // len(row)
        for column, panel in enumerate(row):
            place = {"x": column * width, "y": top, "w": width, "h": height}
            made.append(_panel(len(made) + 1, panel, place))
        top += height
    return {
        "uid": "hanas",
        "title": "HANas",
        "tags": ["hanas"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [_source(), _choice("namespace", "hanas_epoch"), _choice("hanas", _OF_NAMESPACE)]},
        "panels": made,
    }


def rendered() -> str:
    """The file's content."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


_OF_NAMESPACE = 'hanas_epoch{namespace="$namespace"}'


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    options: dict[str, Any] = {}
    if panel.kind == "timeseries":
        defaults["custom"] = {"fillOpacity": 10, "showPoints": "never"}
        options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    elif panel.kind == "state-timeline":
        words = {"0": {"text": "no", "color": "transparent"}, "1": {"text": "yes", "color": "green"}}
        defaults["mappings"] = [{"type": "value", "options": words}]
        options = {"showValue": "never", "mergeValues": True}
    return {
        "id": number,
        "title": panel.title,
        "description": panel.what,
        "type": panel.kind,
        "gridPos": place,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + at), "expr": query.promql, "legendFormat": query.legend, "datasource": SOURCE}
            for at, query in enumerate(panel.queries)
        ],
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _choice(label: str, of: str) -> dict[str, Any]:
    query = f"label_values({of}, {label})"
    return {"name": label, "type": "query", "datasource": SOURCE, "query": query, "refresh": 2, "sort": 1}


if __name__ == "__main__":
    FILE.write_text(rendered(), encoding="utf-8")
