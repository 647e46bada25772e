"""Outputs that cannot be written: what a log may meet in use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

KINDS = ("closed pipe", "full disk", "full pipe")


@contextlib.contextmanager
def opened(kind: str) -> Iterator[int]:
    """A descriptor to write to: it fails with EPIPE or ENOSPC, or blocks for ever."""
    descriptors = (
        [os.open("/dev/full", os.O_WRONLY)] if kind == "full disk" else [*reversed(os.pipe())]
    )
    try:
        if kind == "closed pipe":
            os.close(descriptors.pop())
        if kind == "full pipe":
            _fill(descriptors[0])
        yield descriptors[0]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _fill(pipe: int) -> None:
    os.set_blocking(pipe, False)
    for piece in (65_536, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(pipe, b"x" * piece)
    os.set_blocking(pipe, True)
