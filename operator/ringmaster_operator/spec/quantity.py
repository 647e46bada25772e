"""Kubernetes' quantities: `500m` of CPU, `64Mi` of memory.

Law: pure; the grammar of k8s.io/apimachinery's resource.Quantity.
"""

from __future__ import annotations

import decimal
import math
import re
from typing import Any

_QUANTITY = re.compile(
    r"(?P<number>[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40}))"
    r"(?P<suffix>[numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?",
    re.ASCII,
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def parse(value: Any) -> decimal.Decimal:
    """The value of a quantity, which may also be written as a number.

    Raises:
        ValueError: it is none, or negative.
    """
    text = str(value) if isinstance(value, int | float | str) and value is not True else ""
    match = _QUANTITY.fullmatch(text) if value is not False else None
    if match is None:
        raise ValueError('must be a quantity such as "500m", "1.5" or "64Mi"')
    number = decimal.Decimal(match["number"]) * _factor(match["suffix"] or "")
    if number < 0:
        raise ValueError("must not be negative")
    return number


def cores(value: Any) -> float:
    """CPU, in cores."""
    return float(parse(value))


def size(value: Any) -> int:
    """Memory, in bytes, rounded up."""
    return math.ceil(parse(value))


def _factor(suffix: str) -> decimal.Decimal:
    if suffix in _BINARY:
        return decimal.Decimal(1024) ** _BINARY[suffix]
    exponent = _DECIMAL.get(suffix)
    return decimal.Decimal(10) ** (int(suffix[1:] or 0) if exponent is None else exponent)
