"""What a failed test leaves behind: the state, the events and the logs of everything that took part."""

import re
import shutil
from pathlib import Path

from tests.e2e.commands import ROOT, CommandFailed
from tests.e2e.kubectl import Kubectl

FOLDER = ROOT / "reports/e2e"
_KINDS = "hanas,hanaslinkfailures,hanasbackups,hanasscheduledbackups,all,pvc,configmaps,networkpolicies,pdb"


def gather(test: str, kubectl: Kubectl, namespaces: list[str]) -> Path:
    """Write it all down; return the folder."""
    folder = FOLDER / re.sub(r"[^\w.-]+", "-", test)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _keep(folder / "nodes.txt", kubectl, "get", "nodes,pv", "--output", "wide")
    for namespace in namespaces:
        within = kubectl.within(namespace)
        _keep(folder / f"{namespace}.txt", within, "get", _KINDS, "--output", "wide")
        _keep(folder / f"{namespace}.yaml", within, "get", _KINDS, "--output", "yaml")
        _keep(folder / f"{namespace}-events.txt", within, "get", "events", "--sort-by", ".metadata.creationTimestamp")
        try:
            pods = [pod["metadata"]["name"] for pod in within.list("pods")]
        except CommandFailed:
            continue
        for pod in pods:
            logs = ("logs", pod, "--all-containers", "--timestamps", "--tail", "5000")
            _keep(folder / f"{namespace}-{pod}.log", within, *logs)
            _keep(folder / f"{namespace}-{pod}-before.log", within, *logs, "--previous", wanted=False)
    return folder


def _keep(file: Path, kubectl: Kubectl, *words: str, wanted: bool = True) -> None:
    try:
        file.write_text(kubectl(*words), encoding="utf-8")
    except CommandFailed as error:
        if wanted:
            file.write_text(str(error), encoding="utf-8")
