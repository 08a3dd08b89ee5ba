"""The alert that clients, or strangers at the link port, open more connections than this process may have."""

from hanas_core.members.alerts import Condition
from hanas_core.members.verdicts import Severity, Verdict
from hanas_serving.admission import ADVICE
from hanas_worker.host.host import Host


def conditions(host: Host) -> list[Condition]:
    """Return what is wrong with the number of connections now."""
    crowded = [f"{port}: {admission.trouble}" for port, admission in host.admissions.items() if admission.trouble]
    if not crowded:
        return []
    member = host.settings.member
    message = f"{member} has too many connections ({'; '.join(crowded)})"
    return [Condition(Verdict.CONNECTIONS_EXHAUSTED, member, Severity.URGENT, message, ADVICE)]
