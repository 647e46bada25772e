"""Request bodies: bytes, a JSON value.

Law: pure. Nothing but JSON's own values comes out: NaN and the infinities, which Python's reader
takes, are no JSON, and nobody whom the value is handed on to could write them.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn


def read(body: bytes) -> Any:
    """A JSON value.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(body, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refuse(digits)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
