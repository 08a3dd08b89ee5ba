"""Plots of the results of `bench.run`: python -m bench.plots DIRECTORY, which contains bench.json."""

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

_NAMES = {"hanas": "HANas", "etcd": "etcd, HTTP gateway", "grpc": "etcd, gRPC", "noop": "no-op endpoint"}
_WORKLOADS = {"put": "PUT", "get": "GET", "mixed": "9 GET : 1 PUT"}
_SIZES = (64, 4096)

Row = dict[str, Any]
Series = dict[int, dict[str, float]]
Points = Callable[[Series], tuple[list[float], list[float]]]


def series(rows: list[Row], system: str, workload: str, size: int) -> Series:
    """Return the medians over the rounds by the number of connections: requests a second and p99, ms."""
    rows_of: dict[int, list[Row]] = {}
    for row in rows:
        if (row["system"], row.get("workload"), row.get("value_bytes")) == (system, workload, size):
            rows_of.setdefault(row["connections"], []).append(row)
    return {
        connections: {
            "rate": statistics.median(float(row["per_second"]) for row in series),
            "p99": statistics.median(float(row["p99"]) for row in series) / 1000,
        }
        for connections, series in sorted(rows_of.items())
    }


def draw(rows: list[Row], path: Path, points: Points, labels: tuple[str, str], scales: tuple[str, str]) -> None:
    """Draw a panel for each workload and size, a line of `points` for each system, and save all as PNG."""
    figure, panels = plt.subplots(len(_SIZES), len(_WORKLOADS), figsize=(13, 7), layout="constrained")
    for line, size in zip(panels, _SIZES, strict=True):
        for panel, (workload, title) in zip(line, _WORKLOADS.items(), strict=True):
            for system, name in _NAMES.items():
                panel.plot(*points(series(rows, system, workload, size)), marker="o", label=name)
            panel.set(title=f"{title}, {size} bytes", xlabel=labels[0], ylabel=labels[1])
            panel.set(xscale=scales[0], yscale=scales[1])
            if scales[1] == "linear":
                panel.set_ylim(bottom=0)
            panel.grid(visible=True, alpha=0.3)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(_NAMES))
    figure.savefig(path, dpi=100)
    plt.close(figure)


def throughput(series: Series) -> tuple[list[float], list[float]]:
    """Return requests a second over connections."""
    return list(series), [each["rate"] for each in series.values()]


def latency(series: Series) -> tuple[list[float], list[float]]:
    """Return the 99th percentile over requests a second, a point for each number of connections."""
    return [each["rate"] for each in series.values()], [each["p99"] for each in series.values()]


def main() -> int:
    """Draw the plots of the directory's bench.json."""
    directory = Path(sys.argv[1])
    rows = json.loads((directory / "bench.json").read_text(encoding="utf-8"))
    draw(rows, directory / "throughput.png", throughput, ("connections", "requests a second"), ("log", "linear"))
    draw(rows, directory / "latency.png", latency, ("requests a second", "p99, ms"), ("linear", "log"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
