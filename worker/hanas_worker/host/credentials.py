"""The alert that a file of secrets, tokens or certificates cannot be used, or a certificate expires."""

from hanas_core.members.alerts import Condition
from hanas_core.members.verdicts import Severity, Verdict
from hanas_serving.credentials import ADVICE
from hanas_worker.host.host import Host


def conditions(host: Host) -> list[Condition]:
    """Return what is wrong with the files now."""
    troubles, member = (host.credentials.trouble, "" if host.tls is None else host.tls.trouble), host.settings.member
    trouble = "; ".join(filter(None, troubles))
    if not trouble:
        return []
    message = f"{member} goes on with the secrets, tokens and certificates that it had before: {trouble}"
    return [Condition(Verdict.UNKNOWN, member, Severity.URGENT, message, ADVICE)]
