"""Quantities of Kubernetes (``500m``, ``1Gi``): many texts for one amount; the API server may choose another one."""

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_UNITS = {"": Decimal(1), "m": Decimal("0.001")}
_UNITS |= {unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)}
_UNITS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)}


def amount(quantity: object) -> Decimal:
    """Return the amount of a quantity, which may also be a number; -1 if it is none."""
    match = _QUANTITY.fullmatch(str(quantity))
    return Decimal(-1) if match is None else Decimal(match[1]) * _UNITS[match[2] or ""]
