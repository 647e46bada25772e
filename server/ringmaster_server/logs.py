"""Where the server's log goes: standard error, by a thread.

Law: whoever logs neither waits nor fails; what cannot be written is lost and counted. Standard
error as a whole goes this way, the web server's own words and tracebacks included.
"""

from __future__ import annotations

import atexit
import io
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO, cast

_MOST = 10_000  # pieces of text that wait to be written, mostly lines
_CLOSING = 0.5  # seconds that the end of the process waits for its last lines
_AGAIN = 0.02  # seconds between two attempts on a descriptor that was made non-blocking


def configure() -> None:
    """Let nobody wait for standard error from now on."""
    sys.stderr = detached(sys.stderr, note=lambda count: f"log lines lost count={count}\n")


def detached(stream: TextIO | None, *, note: Callable[[int], str]) -> TextIO:
    """A stream in place of this one, on which nobody ever waits or fails.

    None: it was closed when we were started. What is no file (a test's) is left as it is.
    """
    stream = stream or Path(os.devnull).open("w")  # noqa: SIM115 - for the life of the process
    try:
        stream.fileno()
    except OSError:
        return stream
    return cast(TextIO, _Detached(stream, note=note))


class _Detached(io.TextIOBase):
    """A text stream whose writer neither waits nor fails.

    A thread writes. Beyond `_MOST` pieces that wait, or where writing fails, lines are lost and
    counted; `note` words the line that says so once all that waited is written.
    """

    errors = "backslashreplace"  # click, which looks whether a stream is sound, wants to know

    def __init__(self, stream: TextIO, *, note: Callable[[int], str]) -> None:
        self._stream = stream
        self._note = note
        self._lost = 0
        # Unlike other queues this one may be put to by a signal handler that interrupts a put.
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self._end)

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has it writeable, io has not
        """As the stream that it stands for."""
        return self._stream.encoding

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Take it."""
        if not isinstance(text, str):
            raise TypeError("a text stream takes text")
        if self._waiting.qsize() >= _MOST:
            self._lost += text.count("\n")
        else:
            self._waiting.put(text)
        return len(text)

    def _end(self) -> None:
        """Write what waits, for a moment."""
        self._waiting.put(None)
        self._thread.join(_CLOSING)

    def _run(self) -> None:
        while (text := self._waiting.get()) is not None:
            if not self._written(text):
                self._lost += text.count("\n")
            elif self._waiting.empty():
                self._tell()
        self._tell()

    def _tell(self) -> None:
        lost = self._lost
        if lost and self._written(self._note(lost)):
            self._lost -= lost

    def _written(self, text: str) -> bool:
        """Whether it could be written, which may take as long as it likes."""
        view = memoryview(text.encode(self.encoding, "backslashreplace"))
        while view:
            try:
                view = view[os.write(self._stream.fileno(), view) :]
            except BlockingIOError:  # somebody made our output non-blocking
                time.sleep(_AGAIN)
            except OSError:
                return False
        return True
