"""``spec`` and ``status`` of a HANasLinkFailure as types; `hanas_operator.crd` makes the schemas of them.

It cuts a link of a HANas as an entry of ``spec.linkFailures`` does, and needs no right to change the HANas.
"""

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from hanas_core.members.verdicts import Verdict
from hanas_operator import rules
from hanas_operator.spec import Cut, Duration, checked
from hanas_operator.status import FailureState, HealsAt, StartedAt, StatusCondition, StatusType
from hanas_operator.texts import Name


class FailureCondition(StrEnum):
    """The types of conditions."""

    LINK_LOST = "LinkLost"
    """The workers see the link as failed."""


class LinkFailureSpec(Cut, frozen=True, kw_only=True):
    """A link of a HANas to cut for a while."""

    hanas: Annotated[Name, Meta(description="Name of the HANas, in the same namespace.")]
    duration: Annotated[
        Duration,
        checked("How long the link is cut, such as 30s or 1m30s; it heals by itself.", *rules.DURATION, *rules.LASTING),
    ] = "1m"


class LinkFailureStatus(StatusType, frozen=True, kw_only=True):
    """What became of it."""

    observed_generation: Annotated[int | UnsetType, Meta(description="Generation of the observed spec.")] = UNSET
    state: Annotated[
        FailureState, Meta(description="'Pending': it waits, as the message says; 'Active': cut; 'Healed': over.")
    ] = FailureState.PENDING
    cut: Annotated[str, Meta(description="The cut in one line.")] = ""
    observed: Annotated[
        str, Meta(description="What the workers observe, or last observed: LinkFailed, Healthy, NotWatched, Unknown …")
    ] = Verdict.UNKNOWN.value
    started_at: StartedAt = UNSET
    heals_at: HealsAt = UNSET
    message: Annotated[str, Meta(description="Why it waits, or has no effect; empty otherwise.")] = ""
    conditions: Annotated[
        tuple[StatusCondition, ...],
        Meta(
            description="LinkLost: whether the workers see the link as failed, also after it is healed.",
            extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = ()


def read_spec(spec: dict[str, Any]) -> LinkFailureSpec:
    """Return ``spec`` as types. Raises msgspec.ValidationError, with the path of the invalid field."""
    return msgspec.convert(spec, LinkFailureSpec)
