"""A whole cluster on this machine: real processes, with links between them that the lab can cut.

`Lab` is the library behind the command `hanas lab`.
"""

from hanas_lab.cluster import Lab
from hanas_lab.faults import LabError

__all__ = ["Lab", "LabError"]
