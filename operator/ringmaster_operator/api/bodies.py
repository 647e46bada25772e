"""Request bodies: bytes and a content type, a JSON value.

Law: pure. Nothing but JSON's own values comes out, however the body was written; a content type
that a browser's form could send is refused.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from ringmaster_operator import errors
from ringmaster_operator.api import problems
from ringmaster_operator.spec import manifest

JSON = "application/json"
YAML = "application/yaml"
OBJECTS = (JSON, YAML)
MAX_BYTES = 3 * 1024 * 1024  # etcd's bound on an object doubled, as Kubernetes' API server has it


def read_json(body: bytes) -> Any:
    """A JSON value; NaN and the infinities are none.

    Raises:
        Problem: 400.
    """
    try:
        return json.loads(body, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else error
        raise problems.bad_request(f"the body is not JSON: {why}") from error


def read_object(body: bytes, media_type: str) -> dict[str, Any]:
    """One object in JSON or YAML.

    Raises:
        Problem: 400, or 415 for another content type.
    """
    if media_type == YAML:
        return _read_yaml(body)
    if media_type != JSON:
        raise problems.media_type(OBJECTS)
    value = read_json(body)
    if not isinstance(value, dict):
        raise problems.bad_request("the body must be a JSON object")
    return value


def _read_yaml(body: bytes) -> dict[str, Any]:
    try:
        found = manifest.parse_many(body.decode(), source="body")
    except UnicodeDecodeError as error:
        raise problems.bad_request("the body is not UTF-8") from error
    except errors.SpecInvalidError as error:
        raise problems.bad_request(f"the body is not valid: {error}") from error
    if len(found) != 1:
        raise problems.bad_request(f"the body holds {len(found)} objects, not one")
    return found[0]


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refuse(digits)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
