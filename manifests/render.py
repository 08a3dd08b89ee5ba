"""Writes the generated files: the chart's from the operator's types and rules and its icon, and install.yaml from it.

    python manifests/render.py            write them
    python manifests/render.py --check    name each file that differs, with exit code 1; write nothing

The second part needs `helm` (version 3; another path in $HELM). Without it, `--check` compares a digest of the chart.
"""

import argparse
import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hanas_operator import crd, rbac

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts/hanas"
NAMESPACE = "hanas-system"
HEAD = """\
# The operator, and the CustomResourceDefinition that it needs:
#   kubectl apply --server-side -f manifests/install.yaml
# Written by manifests/render.py from charts/hanas; do not edit. Digest of the chart: {digest}
---
apiVersion: v1
kind: Namespace
metadata:
  name: {namespace}
  labels:
    pod-security.kubernetes.io/enforce: restricted
"""
_HELM_ONLY = re.compile(r"^\s*(helm\.sh/[\w.-]+: .*|app\.kubernetes\.io/managed-by: Helm|# Source: .*)\n", re.MULTILINE)
_EMPTY_ANNOTATIONS = re.compile(r"^( *)annotations:\n(?!\1 )", re.MULTILINE)


class _Plain(yaml.SafeDumper):
    """Without anchors, which the API server does not mind but people do."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out."""
        return True


def text(content: Any) -> str:
    """Return `content` as YAML."""
    written: str = yaml.dump(content, Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)
    return written


def chart_files() -> dict[Path, str]:
    """The chart's files that come from the operator."""
    files, description = CHART / "files", CHART / "Chart.yaml"
    return {
        description: with_icon(description.read_text(encoding="utf-8")),
        files / "crd-spec.yaml": text(crd.definition()["spec"]),
        files / "crd-link-failures-spec.yaml": text(crd.link_failures()["spec"]),
        files / "crd-backups-spec.yaml": text(crd.backups()["spec"]),
        files / "crd-scheduled-backups-spec.yaml": text(crd.scheduled_backups()["spec"]),
        files / "rules.yaml": text(rbac.rules()),
        files / "storage-class-rules.yaml": text(rbac.storage_class_rules()),
        files / "node-rules.yaml": text(rbac.node_rules()),
    }


def with_icon(description: str) -> str:
    """Return the content of Chart.yaml with the icon in it, since the chart knows no address to load it from."""
    content = base64.b64encode((CHART / "icon.svg").read_bytes()).decode()
    return re.sub(r"^icon: .*$", f"icon: data:image/svg+xml;base64,{content}", description, count=1, flags=re.MULTILINE)


def digest(files: Mapping[Path, str]) -> str:
    """A digest of the chart, with `files` in the place of what is there."""
    digest = hashlib.sha256()
    for path in sorted({*(path for path in CHART.rglob("*") if path.is_file()), *files}):
        content = files[path] if path in files else path.read_text(encoding="utf-8")
        digest.update(f"{path.relative_to(CHART).as_posix()}\0{content}\0".encode())
    return digest.hexdigest()


def helm() -> str | None:
    """Where helm is."""
    return shutil.which(os.environ.get("HELM", "helm"))


def template(command: str, *options: str) -> str:
    """What `helm template` writes."""
    line = [command, "template", "hanas", str(CHART), "--namespace", NAMESPACE, *options]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout


def plain(rendered: str) -> str:
    """The same without what only helm understands."""
    return _EMPTY_ANNOTATIONS.sub("", _HELM_ONLY.sub("", rendered))


def install(command: str, files: Mapping[Path, str]) -> str:
    """The content of install.yaml."""
    return HEAD.format(digest=digest(files), namespace=NAMESPACE) + plain(
        template(command, "--skip-tests", "--kube-version", "1.34.0")
    )


def differences() -> list[str]:
    """What is not as it would be written."""
    files = chart_files()
    differing = [str(path.relative_to(ROOT)) for path, content in files.items() if not _is(path, content)]
    target, command = ROOT / "manifests/install.yaml", helm()
    if differing:
        return differing
    if not target.is_file() or f"Digest of the chart: {digest(files)}\n" not in target.read_text(encoding="utf-8"):
        return [f"{target.relative_to(ROOT)} (the chart has changed)"]
    if command is not None and not _is(target, install(command, files)):
        return [str(target.relative_to(ROOT))]
    return []


def _is(path: Path, content: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == content


def write() -> None:
    """Write all of it."""
    files, command = chart_files(), helm()
    if command is None:
        sys.exit("manifests/render.py: there is no helm here: put it on PATH, or name it in $HELM")
    for path, content in files.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    (ROOT / "manifests/install.yaml").write_text(install(command, files), encoding="utf-8")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Write or check the derived manifests.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if anything differs")
    if not parser.parse_args().check:
        write()
        return 0
    differing = differences()
    for one in differing:
        sys.stderr.write(f"{one} is not up to date: run python manifests/render.py\n")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
