"""Texts of specs with a form that the API server checks."""

from typing import Annotated

from msgspec import Meta

_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_SUB_PATH = r"^[^/.][^/]*(/[^/.][^/]*)*$"

Name = Annotated[str, Meta(min_length=1, max_length=253, pattern=_SUBDOMAIN)]
Key = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
SubPath = Annotated[str, Meta(min_length=1, max_length=253, pattern=_SUB_PATH)]
File = Annotated[str, Meta(min_length=1, max_length=253, pattern=r"^[^/.][^/]*$")]
