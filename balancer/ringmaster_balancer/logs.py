"""How the balancer's processes log: one line an event to stderr, `key=value`.

Law: configured once, by each process' entry. Whoever logs neither waits nor fails: a thread
writes, and what it cannot write is lost and counted. Standard error as a whole goes this way, so
that also libraries, event loops and the hooks that print a thread's traceback do.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import os
import queue
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import structlog

_MOST: Final = 10_000  # pieces of the log that wait to be written, mostly lines
_CLOSING: Final = 0.5  # s that a process' end waits for its last lines
_PIPE_BUF: Final = 4096  # bytes; what is not longer is not torn apart by another writer of a pipe
_NONE: Final = -1  # a descriptor; it cannot be opened, which is tried again with new lines
_AGAIN: Final = 0.02  # s between two attempts on a descriptor that was made non-blocking


def configure(process: str) -> None:
    """Log as `time level process event key=value …` from now on."""
    _detach_stderr(process)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            _with_process(process),
            structlog.processors.LogfmtRenderer(
                key_order=["time", "level", "process", "event"], bool_as_flag=False
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


def lost() -> int:
    """Lines of this process' log that could not be written."""
    outlet = _outlet()
    return outlet.lost if outlet else 0


def settle() -> None:
    """Wait a moment for what was said to be written: this program is about to be replaced."""
    outlet = _outlet()
    if outlet:
        outlet.settle(_CLOSING)


def _with_process(process: str) -> structlog.typing.Processor:
    def add(
        _logger: object, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["process"] = process
        return event

    return add


class Outlet:
    """Lines on their way to a file or pipe.

    `opened` gives the descriptor, in the thread: a FIFO waits for its reader. `most` lines wait,
    what is beyond is lost; those that come within `gather` seconds are written together. `failed`
    hears in words of every attempt in vain; `noted` words the line that follows once something was
    lost and can be written again.
    """

    def __init__(
        self,
        opened: Callable[[], int],
        *,
        name: str,
        most: int,
        encoding: str = "ascii",
        gather: float = 0.0,
        failed: Callable[[str, OSError], None] | None = None,
        noted: Callable[[int], str] | None = None,
    ) -> None:
        self._opened = opened
        self._most = most
        self._encoding = encoding
        self._gather = gather
        self._failed = failed
        self._noted = noted
        self._told = 0
        self._descriptor = _NONE
        self._reopening = False
        # Unlike other queues this one may be put to by a signal handler that interrupts a put.
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._idle = True
        self.lost = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, piece: str) -> None:
        """Write this soon: a line, or a piece of one."""
        if self._waiting.qsize() >= self._most:
            self.lost += piece.count("\n")
        else:
            self._waiting.put(piece)

    def reopen(self) -> None:
        """The file was moved away: go on in a new one of its name."""
        self._reopening = True
        self._waiting.put("")

    def settle(self, within: float) -> None:
        """Wait until what waits is written, at most so many seconds."""
        until = time.monotonic() + within
        time.sleep(_AGAIN)  # the thread may just be taking what was put
        while not (self._idle and self._waiting.empty()) and time.monotonic() < until:
            time.sleep(_AGAIN)

    def close(self, within: float) -> None:
        """No more lines come; those that wait are written, and awaited for so many seconds."""
        self._waiting.put(None)
        self._thread.join(within)

    def _run(self) -> None:
        # Signals are for the main thread, which may have blocked them for a while.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self._open_anew()
        going_on = True
        while going_on:
            pieces = self._next()
            going_on = None not in pieces
            lines = [piece for piece in pieces if piece]
            if self._reopening or (lines and self._descriptor == _NONE):
                self._reopening = False
                self._open_anew()
            self._write(lines)
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _next(self) -> list[str | None]:
        self._idle = self._waiting.empty()
        pieces = [self._waiting.get()]
        self._idle = False
        if self._gather and pieces[0] is not None:
            time.sleep(self._gather)
        with contextlib.suppress(queue.Empty):
            while len(pieces) < self._most:
                pieces.append(self._waiting.get_nowait())
        return pieces

    def _write(self, lines: list[str]) -> None:
        written = 0
        try:
            if self._descriptor != _NONE:
                for count, piece in _pieces(lines, pipe=_is_pipe(self._descriptor)):
                    self._write_all(piece)
                    written += count
                self._note()
        except OSError as error:
            if self._failed is not None:
                self._failed("cannot be written", error)
        self.lost += sum(line.count("\n") for line in lines[written:])

    def _note(self) -> None:
        lost = self.lost
        if self._noted is not None and lost > self._told:
            self._write_all(self._noted(lost - self._told))
            self._told = lost

    def _write_all(self, text: str) -> None:
        view = memoryview(text.encode(self._encoding, "backslashreplace"))
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # somebody made our output non-blocking
                time.sleep(_AGAIN)

    def _open_anew(self) -> None:
        try:
            fresh = self._opened()
        except OSError as error:
            if self._failed is not None:
                nowhere = self._descriptor == _NONE
                how = "its lines are lost" if nowhere else "going on in the old file"
                self._failed(f"cannot be opened{'' if nowhere else ' anew'}, {how}", error)
            return
        if self._descriptor != _NONE:
            os.close(self._descriptor)
        self._descriptor = fresh


def _is_pipe(descriptor: int) -> bool:
    return stat.S_ISFIFO(os.fstat(descriptor).st_mode)


def _pieces(lines: list[str], *, pipe: bool) -> Iterator[tuple[int, str]]:
    """What to write at once, with the number of its lines: all; to a pipe only so much."""
    if not pipe:
        if lines:
            yield len(lines), "".join(lines)
        return
    piece: list[str] = []
    size = 0
    for line in lines:
        if piece and size + len(line) > _PIPE_BUF:
            yield len(piece), "".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        yield len(piece), "".join(piece)


class _Stream(io.TextIOBase):
    """A text stream that hands all to an outlet."""

    errors = "backslashreplace"  # click, which looks whether a stream is sound, wants to know

    def __init__(self, outlet: Outlet, *, encoding: str) -> None:
        self.outlet = outlet
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has it writeable, io has not
        """As the stream that it stands for."""
        return self._encoding

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Take it."""
        if not isinstance(text, str):
            raise TypeError("a text stream takes text")
        self.outlet.put(text)
        return len(text)


def _detach_stderr(process: str) -> None:
    """Let a thread write what goes to standard error, unless that is no file (a test's)."""
    # It was closed when we were started.
    stream = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - for the life of the process
    try:
        stream.fileno()
    except OSError:
        return
    outlet = Outlet(
        lambda: os.dup(stream.fileno()),
        name="log",
        most=_MOST,
        encoding=stream.encoding,
        noted=lambda count: (
            f'{_stamp()} level=warning process={process} event="log lines lost" count={count}\n'
        ),
    )
    sys.stderr = _Stream(outlet, encoding=stream.encoding)
    atexit.register(outlet.close, _CLOSING)


def _stamp() -> str:
    return time.strftime("time=%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _outlet() -> Outlet | None:
    return sys.stderr.outlet if isinstance(sys.stderr, _Stream) else None
