"""The error of the lab."""

from __future__ import annotations

from hanas_client.errors import HanasError


class LabError(HanasError):
    """The lab cannot do this; the text is one line with the reason and the remedy."""
