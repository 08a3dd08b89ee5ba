"""Has checkov look at every object that this project ships or makes; manifests/exceptions.yaml says what may stay.

    python -m manifests.lint CHECKOV      the command, from an environment of requirements/checkov.txt

These objects are: manifests/, what the operator makes of each example, and, if `helm` is here (as for render.py), the
chart with its test, for one namespace and for all. An objection without an exception is an error, and so is an
exception that nothing needs. tests/unit/packaging compares the same objects with the schemas of Kubernetes.
"""

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from manifests import render

from hanas_operator import spec as specs
from hanas_operator.crd import KIND
from hanas_operator.objects import cluster, secret, workloads
from hanas_operator.objects.owner import Owner

ROOT = render.ROOT
EXCEPTIONS = ROOT / "manifests/exceptions.yaml"
IMAGE = "hanas:0.1.0"
_CHARTS = {"chart": [], "chart-namespaced": ["--set", "operator.watchNamespaces={shop}"]}
Document = dict[str, Any]
Exceptions = dict[str, Any]
"""By the id of a check: ``why``, and ``objects``, patterns of the names that checkov gives them."""


class Objection(NamedTuple):
    """What checkov says about one object."""

    check: str
    resource: str
    words: str


def shipped() -> Iterator[tuple[str, list[Document]]]:
    """The documents by the name of their source."""
    for path in sorted((ROOT / "manifests").rglob("*.yaml")):
        found = [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]
        source = path.relative_to(ROOT / "manifests").as_posix().replace("/", "-")
        yield source, found
        for document in found:
            if document.get("kind") == KIND:
                yield f"made-of-{source}", made(document)
    command = render.helm()
    if command is not None:
        for name, options in _CHARTS.items():
            rendered = render.template(command, "--kube-version", "1.34.0", *options)
            yield f"{name}.yaml", [each for each in yaml.safe_load_all(rendered) if each]


def made(hanas: Document) -> list[Document]:
    """The objects that the operator makes of a HANas."""
    name, spec = hanas["metadata"]["name"], specs.read(hanas.get("spec", {}))
    image = spec.image if isinstance(spec.image, str) else IMAGE
    owner = Owner(name=name, namespace="shop", uid="0", spec=spec, image=image, folder_id="0" * 16)
    return [*cluster.surroundings(owner, []), *workloads.workloads(owner), secret.components(owner, ("0" * 43,), "")]


def objections(checkov: str) -> list[Objection]:
    """What checkov objects to."""
    with tempfile.TemporaryDirectory() as folder:
        for source, documents in shipped():
            Path(folder, source).write_text(yaml.safe_dump_all(documents), encoding="utf-8")
        line = [checkov, "--directory", folder, "--framework", "kubernetes", "--skip-download", "--output", "json"]
        done = subprocess.run(
            line, capture_output=True, text=True, check=False, env={**os.environ, "LOG_LEVEL": "ERROR"}
        )
    try:
        results = json.loads(done.stdout)["results"]
    except (ValueError, KeyError):
        sys.exit(f"manifests/lint.py: checkov did not tell what it found: {done.stderr or done.stdout}")
    if results["parsing_errors"]:
        sys.exit(f"manifests/lint.py: checkov cannot read {results['parsing_errors']}")
    failed = ((each["check_id"], each["resource"], each["check_name"]) for each in results["failed_checks"])
    return sorted({Objection(*each) for each in failed})


def judge(found: Iterable[Objection], exceptions: Exceptions, *, complete: bool) -> list[str]:
    """What is wrong. ``complete``: everything was looked at, so that each exception must be needed."""
    unneeded = {(check, pattern) for check, entry in exceptions.items() for pattern in entry["objects"]}
    wrong: list[str] = []
    for check, resource, words in found:
        patterns = exceptions[check]["objects"] if check in exceptions else []
        fitting = {(check, pattern) for pattern in patterns if fnmatch.fnmatch(resource, pattern)}
        unneeded -= fitting
        if not fitting:
            wrong.append(f"{resource}: {check}: {words}")
    if complete:
        where = EXCEPTIONS.relative_to(ROOT)
        wrong += [f"{where}: {check}, {pattern}: nothing needs this exception" for check, pattern in sorted(unneeded)]
    return wrong


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Check all manifests with checkov.")
    parser.add_argument("checkov", help="the command checkov")
    exceptions: Exceptions = yaml.safe_load(EXCEPTIONS.read_text(encoding="utf-8"))
    wrong = judge(objections(parser.parse_args().checkov), exceptions, complete=render.helm() is not None)
    for line in wrong:
        sys.stderr.write(f"{line}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
