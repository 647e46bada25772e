"""The progress bar.

Law: edge; on a terminal only, on standard error, so that what is said can be piped on.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

import click


class Bar:
    """A progress bar over several runs, each of which counts its own requests from 0."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance

    @contextlib.contextmanager
    def part(self) -> Iterator[Callable[[int], None]]:
        """What one run reports to."""
        known = 0

        def report(done: int) -> None:
            nonlocal known
            self._advance(done - known)
            known = done

        yield report


@contextlib.contextmanager
def shown(total: int, *, label: str) -> Iterator[Bar]:
    """On a terminal only."""
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=total, label=label, file=sys.stderr, hidden=hidden) as bar:
        yield Bar(bar.update)
