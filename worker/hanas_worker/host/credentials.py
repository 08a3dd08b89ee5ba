"""The alert that a file of secrets or tokens has changed and cannot be used."""

from hanas_core.members.alerts import Condition
from hanas_core.members.verdicts import Severity, Verdict
from hanas_serving.credentials import ADVICE
from hanas_worker.host.host import Host


def conditions(host: Host) -> list[Condition]:
    """Return what is wrong with the files now."""
    trouble, member = host.credentials.trouble, host.settings.member
    if not trouble:
        return []
    message = f"{member} goes on with the secrets and tokens that it had before: {trouble}"
    return [Condition(Verdict.UNKNOWN, member, Severity.URGENT, message, ADVICE)]
