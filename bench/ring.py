"""`make bench-ring`: what a ring costs, beside uhashring in the same run.

CPU time of one core, the best of some rounds: a shared machine slows everybody, so the ratios and
the bars are what counts. `--table` prints the comparison of all schemes as Markdown instead, and
`--write FILE` puts it between the marks in that file.
"""

from __future__ import annotations

import argparse
import gc
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uhashring
from ringmaster_balancer import members
from ringmaster_balancer.ring import comparison, samples, table

MARKS = ("<!-- make ring-comparison: begin -->", "<!-- make ring-comparison: end -->")
KEYS = samples.uuids(20_000)
# The bars of the first release, on one core.
BUILD, CHANGE, LOOKUP = 0.5, 0.030, 0.5e-6
COMPARED = (
    ("hrw", {}, (3, 10, 100, 1_000)),
    ("maglev", {"scheme": "maglev"}, (3, 10, 100, 1_000)),
    ("ketama crc32", {"scheme": "ketama", "hash": "crc32"}, (3, 10, 100, 1_000)),
    ("ketama md5", {"scheme": "ketama", "hash": "md5"}, (3, 10, 100, 1_000)),
    ("classic", {"scheme": "classic"}, (3, 6)),
    ("classic, xxh64", {"scheme": "classic", "hash": "xxh64"}, (3, 6)),
)


def places(count: int) -> list[tuple[str, int]]:
    return [(f"web-{ordinal}", 100) for ordinal in range(count)]


def best(work: Callable[[], Any], *, rounds: int = 5) -> float:
    """CPU seconds of the fastest round."""
    times = []
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
    finally:
        gc.enable()
    return min(times)


def looking_up(function: Callable[[Any], Any], keys: Sequence[Any]) -> float:
    """CPU seconds a key, less those of the loop itself."""

    def loop() -> None:
        for key in keys:
            function(key)

    def empty() -> None:
        for _ in keys:
            pass

    return (best(loop) - best(empty)) / len(keys)


def owner_of(compiled: table.Table) -> Callable[[bytes], int]:
    """What the data plane does for a key."""
    slot_of, candidates, width = compiled.slot_of, compiled.candidates, compiled.width
    return lambda key: candidates[slot_of(key) * width]


@dataclass(frozen=True)
class Costs:
    """CPU seconds; `hashing` is what of a lookup the hash alone costs."""

    build: float
    add: float
    remove: float
    lookup: float
    hashing: float = 0.0


def ours(count: int, **ring: Any) -> Costs:
    settings = members.Ring(**ring)
    many, more, fewer = places(count), places(count + 1), places(count)[1:]
    built = table.compile(settings, many)
    return Costs(
        build=best(lambda: table.compile(settings, many), rounds=3),
        add=best(lambda: table.compile(settings, more, previous=built), rounds=3),
        remove=best(lambda: table.compile(settings, fewer, previous=built), rounds=3),
        lookup=looking_up(owner_of(built), KEYS),
        hashing=looking_up(built.hash64, KEYS),
    )


def theirs(count: int) -> Costs:
    """uhashring as its README has it: ketama, 160 points of a node."""
    names = [name for name, _ in places(count)]
    ring = uhashring.HashRing(nodes=names)
    add = best(lambda: ring.add_node(f"x-{len(ring.get_nodes())}"), rounds=3)
    added = [node for node in ring.get_nodes() if node.startswith("x-")]
    remove = best(lambda: ring.remove_node(added.pop()), rounds=3)
    return Costs(
        build=best(lambda: uhashring.HashRing(nodes=names), rounds=3),
        add=add,
        remove=remove,
        lookup=looking_up(ring.get_node, [key.decode() for key in KEYS]),
    )


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f} ms" if seconds < 0.01 else f"{seconds * 1e3:,.0f} ms"


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.2f} µs"


def beside(count: int = 1_000) -> int:
    """Ours and theirs; the exit code says whether hrw keeps its bars."""
    contestants = {
        "hrw": ours(count),
        "maglev": ours(count, scheme="maglev"),
        "ketama crc32": ours(count, scheme="ketama", hash="crc32"),
        "uhashring": theirs(count),
    }
    print(f"{count:,} members, CPU time of one core, {platform.python_implementation()} "
          f"{platform.python_version()}\n")  # fmt: skip
    heads = ("", "build", "one added", "one removed", "lookup", "of it the hash")
    rows = [heads] + [
        (name, milliseconds(c.build), milliseconds(c.add), milliseconds(c.remove),
         microseconds(c.lookup), microseconds(c.hashing) if c.hashing else "")
        for name, c in contestants.items()
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    print()
    hrw = contestants["hrw"]
    bars = {
        f"full build {milliseconds(hrw.build)}, at most {milliseconds(BUILD)}": hrw.build <= BUILD,
        f"one member's change {milliseconds(max(hrw.add, hrw.remove))}, at most "
        f"{milliseconds(CHANGE)}": max(hrw.add, hrw.remove) <= CHANGE,
        f"lookup beyond the hash {microseconds(hrw.lookup - hrw.hashing)}, at most "
        f"{microseconds(LOOKUP)}": hrw.lookup - hrw.hashing <= LOOKUP,
    }
    for words, kept in bars.items():
        print(f"{'kept  ' if kept else 'MISSED'}  {words}")
    return 0 if all(bars.values()) else 1


def rows() -> Iterator[str]:
    """The comparison as a Markdown table."""
    yield "| scheme | N | max/mean | min/mean | build | memory | lookup | moved | needless |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for name, ring, counts in COMPARED:
        for number, count in enumerate(counts):
            label = name if number == 0 else ""
            yield f"| {label} | {count:,} | {' | '.join(cells(count, **ring))} |"


def cells(count: int, **ring: Any) -> list[str]:
    settings = members.Ring(**ring)
    built = table.compile(settings, places(count))
    before = table.compile(settings, places(count - 1))
    evenness = table.evenness(built)
    change = comparison.compare(before, built)
    build = best(lambda: table.compile(settings, places(count)), rounds=3)
    return [
        f"{evenness.largest:.3f}",
        f"{evenness.smallest:.3f}",
        milliseconds(build),
        f"{memory(built) / 1024:,.0f} KB",
        microseconds(looking_up(owner_of(built), KEYS)),
        percent(change.moved),
        percent(change.needless),
    ]


def memory(built: table.Table) -> int:
    """One table as a worker holds it: the candidates, and a circle's points."""
    points = getattr(built._scheme, "points", 0)  # noqa: SLF001 – weighed, not used
    circle = points.itemsize * len(points) if hasattr(points, "itemsize") else 0
    return built.candidates.itemsize * len(built.candidates) + circle


def percent(share: float) -> str:
    return "0" if not share else f"{share * 100:.2f} %"


def write(path: Path, text: str) -> None:
    """Put the table between the marks."""
    page = path.read_text(encoding="utf-8")
    head, begin, rest = page.partition(MARKS[0])
    _, end, tail = rest.partition(MARKS[1])
    if not begin or not end:
        sys.exit(f"{path} has no place for the table: {MARKS[0]} … {MARKS[1]}")
    path.write_text(f"{head}{begin}\n{text}\n{end}{tail}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--table", action="store_true", help="compare all schemes, as Markdown")
    parser.add_argument("--write", type=Path, metavar="FILE", help="and put it into this file")
    parser.add_argument("--members", type=int, default=1_000, help="beside uhashring (1000)")
    options = parser.parse_args()
    if not options.table and options.write is None:
        sys.exit(beside(options.members))
    text = "\n".join(rows())
    print(text)
    if options.write is not None:
        write(options.write, text)


if __name__ == "__main__":
    main()
