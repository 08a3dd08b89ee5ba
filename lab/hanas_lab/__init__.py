"""A whole cluster on this machine: real processes, and links between them that can be cut.

`Lab` is the library; `hanas lab` is made of it.
"""

from hanas_lab.cluster import Lab
from hanas_lab.faults import LabError

__all__ = ["Lab", "LabError"]
