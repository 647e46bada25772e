"""One trial of a function of the user's own, in a process of its own: JSON in, JSON out.

Law: entry. `gate` starts it with a time limit, twice or more with different hash seeds, and once
more to place the members of a ring. It bounds its own CPU time, memory and files first; what the
function prints goes to standard error. It is a check against mistakes and no prison: the
administrator put the code there.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

from ringmaster_balancer import codes, errors
from ringmaster_balancer.ring import checks, custom, samples

CPU_SECONDS = 6  # ten times what a good function needs
# Of address space, one at a time: a balancer's container has 512 MiB. With numpy we need 150.
MEMORY = 384 * 1024**2
FILE_BYTES = 4 * 1024**2  # of what it says and prints; 65,536 owners take 0.4
_LITTLE = 4_096  # slots of a scheme's trial: it is called a dozen times


def run(order: dict[str, Any]) -> dict[str, Any]:
    """Kind, golden values and findings. `order`: reference, source, scheme, slots, whole.

    An order with `members`, pairs of id and weight, is to place them: their `owners` by slot.
    """
    reference, source = order["reference"], order["source"]
    try:
        function, kind = codes.function(reference, source)
    except codes.CodeError as error:
        return _failed("load", str(error))
    code = custom.Code(reference=reference, source=source, digest="", kind=kind)
    own = custom.Custom(code=code, function=function)
    wrong = _wrong_kind(order["scheme"], kind)
    if wrong:
        return _failed("kind", f"{reference} {wrong}")
    findings: list[checks.Finding] = []
    golden: list[tuple[str, int]] = []
    try:
        if "members" in order:
            return _placed(own, order)
        if order["whole"]:
            findings += _findings(own, order)
        golden = _golden(own, order)
    except errors.RingInvalid as error:
        return _failed("owners", str(error.faults[0].message))
    except Exception as error:  # noqa: BLE001 – it is not our code
        if not any(not finding.good for finding in findings):
            return _failed("range", f"{type(error).__name__}: {error}")
    return {
        "kind": kind.value,
        "golden": [[key, str(value)] for key, value in golden],
        "findings": [finding.to_document() for finding in findings],
    }


def _findings(own: custom.Custom, order: dict[str, Any]) -> Iterator[checks.Finding]:
    if own.code.kind is custom.Kind.FILL:
        little, whole = min(order["slots"], _LITTLE), order["slots"]
        return checks.fill_findings(own, slots=little, whole=whole, clock=time.process_time)
    even = order["scheme"] != "classic"
    return checks.hash_findings(own, slots=order["slots"], even=even, clock=time.process_time)


def _placed(own: custom.Custom, order: dict[str, Any]) -> dict[str, Any]:
    members = [(str(member), int(weight)) for member, weight in order["members"]]
    owners = custom.filled(own.function, members, slots=order["slots"])
    return {"kind": own.code.kind.value, "golden": [], "findings": [], "owners": owners}


def _golden(own: custom.Custom, order: dict[str, Any]) -> list[tuple[str, int]]:
    """The other way round in every second process: what was asked before must not matter."""
    if own.code.kind is custom.Kind.FILL:
        members = [(f"m-{number}", 100) for number in range(3)]
        return [("", owner) for owner in custom.filled(own.function, members, slots=_LITTLE)]
    if order["whole"]:
        return checks.values(own)
    return [(key.hex(), checks.value_of(own, key)) for key in reversed(samples.golden())][::-1]


def _wrong_kind(scheme: str, kind: custom.Kind) -> str:
    if kind is custom.Kind.FILL and scheme != "custom":
        return "takes members and slots: it needs scheme custom"
    if kind is not custom.Kind.FILL and scheme == "custom":
        return "hashes keys: scheme custom needs a function of members and slots"
    return ""


def _failed(check: str, words: str) -> dict[str, Any]:
    finding = checks.Finding(check=check, good=False, words=words)
    return {"kind": None, "golden": [], "findings": [finding.to_document()]}


def main() -> None:
    """Read the order from standard input, write the result to standard output."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    order = json.load(sys.stdin)
    for limit, most in (
        (resource.RLIMIT_CPU, order.get("cpuSeconds", CPU_SECONDS)),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
    ):
        with contextlib.suppress(ValueError, OSError):  # macOS bounds no address space
            resource.setrlimit(limit, (most, most))
    with answer:
        json.dump(run(order), answer)


if __name__ == "__main__":
    main()
