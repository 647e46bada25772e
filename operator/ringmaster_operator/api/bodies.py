"""Request bodies: bytes and a content type, a JSON value.

Law: pure. Nothing but JSON's own values comes out; a content type that a browser's form could
send is refused. A value is bounded here once, so that later code may walk it without a limit of
its own. Reading takes a while (0.2 s for the largest body): never on the event loop.
"""

from __future__ import annotations

import collections
import json
import math
from typing import Any, NoReturn

from ringmaster_operator.api import problems
from ringmaster_operator.spec import shape

JSON = "application/json"
MAX_BYTES = 3 * 1024 * 1024  # etcd's bound on an object doubled, as Kubernetes' API server has it
_MAX_DEPTH = 100  # a pod template has about 15 levels


def read_json(body: bytes) -> Any:
    """A JSON value; NaN and the infinities are none, and no name stands twice in an object.

    Raises:
        Problem: 400.
    """
    try:
        value = json.loads(
            body, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_object
        )
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else error
        raise problems.bad_request(f"the body is not JSON: {why}") from error
    refuse_excess(value)
    return value


def read_object(body: bytes, media_type: str) -> dict[str, Any]:
    """One object.

    Raises:
        Problem: 400, or 415 for another content type.
    """
    if media_type != JSON:
        raise problems.media_type((JSON,))
    value = read_json(body)
    if not isinstance(value, dict):
        raise problems.bad_request("the body must be a JSON object")
    return value


def refuse_excess(value: Any) -> None:
    """400 for what code that recurses could not walk through, or not in a short time."""
    level: list[Any] = [[value]]
    values = 0
    for _ in range(_MAX_DEPTH + 1):
        values += sum(map(len, level))
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [item for items in inner for item in items if isinstance(item, dict | list)]
        if values > shape.MAX_VALUES:
            raise problems.bad_request(f"the object holds more than {shape.MAX_VALUES} values")
        if not level:
            return
    raise problems.bad_request(f"the object is nested deeper than {_MAX_DEPTH} levels")


def size(value: Any) -> int:
    """Its length as JSON, in bytes."""
    return len(
        json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
    )


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        counts = collections.Counter(name for name, _ in members)
        raise ValueError(f'duplicate field "{counts.most_common(1)[0][0]}"')
    return found


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refuse(digits)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
