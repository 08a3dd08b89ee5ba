"""What a certificate says."""

from datetime import datetime

import msgspec


class Facts(msgspec.Struct, frozen=True):
    """What a certificate says."""

    subject: str
    """As RFC 4514 writes it."""
    names: tuple[str, ...]
    """The host names and addresses it is for."""
    begins: datetime
    ends: datetime
