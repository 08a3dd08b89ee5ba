"""What keeps an object from its desired state: a problem in the status, which stops nothing else."""

from msgspec import Struct

from hanas_operator.api import ApiError, Leaving
from hanas_operator.status import Reason

API_FAILED = "ApiServerFailed"
"""The reason of what may succeed the next time."""


class Obstacle(Struct, frozen=True):
    """A reason why an object differs from its desired state."""

    reason: str
    message: str


def of(error: ApiError, what: str) -> Obstacle:
    """Return the obstacle to ``what``, such as ``the Service demo``.

    Raises ``error`` again if it concerns everything: the API server cannot be reached, or the HANas goes away.
    """
    if isinstance(error, Leaving) or error.status == 0:
        raise error
    if error.lasting:
        return Obstacle(Reason.REJECTED, f"{what} was refused: {error}")
    return Obstacle(API_FAILED, f"{what} could not be written, and is tried again: {error}")
