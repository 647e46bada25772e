"""Code of the user's own: found in the folder that the administrator named, loaded, held to account.

Law: edge. What may be run is the administrator's decision, not that of whoever writes a ServerSet:
files of `--hash-path`, installed modules of `--hash-module`, nothing else. What serves is the very
text that passed the gate: it travels with the table, so that a file which changes in between, or
reaches another process later, changes nothing.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringmaster_balancer import errors
from ringmaster_balancer.ring import checks, custom

_MAX_BYTES = 262_144
_FILL_PARAMETERS = 2


class CodeError(errors.BalancerError):
    """The function cannot be found, loaded or believed; the message says why."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be loaded. `folder` holds `<module>.py`, `modules` are names of installed ones."""

    folder: Path | None = None
    modules: tuple[str, ...] = ()


def find(reference: str, allowed: Allowed) -> tuple[str | None, str]:
    """The source of `module:name` (None: an installed module's) and a digest of it.

    Raises:
        CodeError: it is not there, or not allowed.
    """
    found = custom.parts(reference)
    if found is None:
        raise CodeError(f"{reference!r} is not module:name")
    module, _ = found
    if allowed.folder is not None and "." not in module:
        path = allowed.folder / f"{module}.py"
        if path.is_file():
            text = _read(path)
            return text, _digest(text.encode())
    if module in allowed.modules:
        return None, _digest(_installed(module))
    raise CodeError(_why_not_found(module, allowed))


def load(code: custom.Code) -> custom.Custom:
    """The function of code that passed the gate, once it gives the gate's values here as well.

    Raises:
        CodeError: it does not.
    """
    own = custom.Custom(code=code, function=function(code.reference, code.source)[0])
    try:
        here = [(key, checks.value_of(own, bytes.fromhex(key))) for key, _ in code.golden]
    except Exception as error:
        raise CodeError(f"{code.reference} fails here: {type(error).__name__}: {error}") from error
    if said := checks.differing(code.golden, here):
        raise CodeError(f"{code.reference} differs from its trial: {said}")
    return own


def function(reference: str, source: str | None) -> tuple[Callable[..., Any], custom.Kind]:
    """Run the code and take the function out of it, with its kind.

    Raises:
        CodeError: there is none, or it takes something else.
    """
    found = custom.parts(reference)
    assert found is not None
    module, name = found
    try:
        namespace = importlib.import_module(module) if source is None else _run(module, source)
    except Exception as error:
        raise CodeError(f"{module} cannot be loaded: {type(error).__name__}: {error}") from error
    value = getattr(namespace, name, None)
    if not callable(value):
        raise CodeError(f"{module} has no function {name!r}")
    return value, _kind(reference, value)


def _kind(reference: str, value: Callable[..., Any]) -> custom.Kind:
    try:
        parameters = [
            parameter
            for parameter in inspect.signature(value).parameters.values()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
            and parameter.default is parameter.empty
        ]
    except (TypeError, ValueError):
        return custom.Kind.KEY  # a builtin without a signature, such as zlib.crc32
    if len(parameters) == _FILL_PARAMETERS:
        return custom.Kind.FILL
    if len(parameters) > 1:
        raise CodeError(
            f"{reference} takes {len(parameters)} values: a hash takes one (key: bytes, or "
            "request: int), a scheme two (members, slots)"
        )
    annotated = parameters[0].annotation if parameters else None
    return custom.Kind.REQUEST if annotated in (int, "int") else custom.Kind.KEY


def _run(module: str, source: str) -> types.ModuleType:
    fresh = types.ModuleType(module)
    fresh.__file__ = f"<{module}>"
    exec(compile(source, f"<{module}>", "exec", dont_inherit=True), fresh.__dict__)  # noqa: S102 – the administrator put it into --hash-path
    return fresh


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CodeError(f"{path} is longer than {_MAX_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CodeError(f"{path} cannot be read: {error}") from error


def _installed(module: str) -> bytes:
    """What an installed module consists of, as far as it can be read."""
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        raise CodeError(f"{module} cannot be found: {error}") from error
    if found is None:
        raise CodeError(f"the module {module} is not installed")
    origin = Path(found.origin or "")
    return origin.read_bytes() if origin.is_file() else module.encode()


def _why_not_found(module: str, allowed: Allowed) -> str:
    if allowed.folder is None and not allowed.modules:
        return "this balancer was started without --hash-path: it knows no functions of your own"
    places = [f"no {module}.py in {allowed.folder}"] if allowed.folder is not None else []
    places.append(f"{module} is none of the modules that --hash-module allows")
    return ", and ".join(places)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
