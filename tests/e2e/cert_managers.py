"""cert-manager: that of the cluster, or one that is built from its sources and runs beside the cluster."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e import evidence
from tests.e2e.commands import ROOT, run
from tests.e2e.kubectl import Kubectl

CERT_MANAGER = "HANAS_E2E_CERT_MANAGER"
"""Set: a cluster without cert-manager gets the one of `_SOURCES` for the tests that need it."""
_SOURCES = ROOT / "tests/e2e/cert_manager"
_DEFINITION = "certificates.cert-manager.io"


class NoCertManager(Exception):
    """There is no cert-manager, and none can be made; the text says what to do."""


@contextmanager
def found(kubectl: Kubectl) -> Iterator[str]:
    """Yield the name of the cert-manager that works on this cluster. Raises NoCertManager."""
    if kubectl.get("crd", _DEFINITION) is not None:
        yield "the cluster's own"
        return
    if not os.environ.get(CERT_MANAGER):
        raise NoCertManager(f"the cluster has no cert-manager: install it, or set {CERT_MANAGER}, which needs Go")
    if shutil.which("go") is None:
        raise NoCertManager(f"{CERT_MANAGER} is set and there is no go here: install it and put it on the PATH")
    with _built(kubectl) as version:
        yield version


@contextmanager
def _built(kubectl: Kubectl) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "cert-manager")
        run("go", "build", "-C", str(_SOURCES), "-trimpath", "-o", str(program), ".", seconds=900)
        module = ("go", "list", "-C", str(_SOURCES), "-m", "-f", "{{.Dir}} {{.Version}}")
        sources, version = run(*module, "github.com/cert-manager/cert-manager").split()
        # The annotation of an apply on the client's side would be too long.
        apply = ("apply", "--server-side", "--filename", f"{sources}/deploy/crds")
        definitions = kubectl(*apply, "--output", "name").split()
        try:
            for definition in definitions:
                kubectl("wait", definition, "--for=condition=Established", "--timeout=30s")
            with _running(program, kubectl):
                yield version
        finally:
            kubectl("delete", *definitions, "--wait=true")


@contextmanager
def _running(program: Path, kubectl: Kubectl) -> Iterator[None]:
    evidence.FOLDER.mkdir(parents=True, exist_ok=True)
    with Path(evidence.FOLDER, "cert-manager.log").open("w", encoding="utf-8") as log:
        running = subprocess.Popen([program, "--kubeconfig", kubectl.kubeconfig], stdout=log, stderr=log)
        try:
            yield
            assert running.poll() is None, f"cert-manager ended: see {log.name}"
        finally:
            running.terminate()
            running.wait(30.0)
