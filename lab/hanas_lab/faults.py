"""What the lab refuses to do."""

from __future__ import annotations

from hanas_client.errors import HanasError


class LabError(HanasError):
    """The lab cannot do this; the text is one line that says why and what to do."""
