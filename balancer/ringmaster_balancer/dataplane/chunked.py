"""Bodies in chunks, taken apart: RFC 9112 §7.1.

Law: pure. Bytes in, content out, and where the body ended. Extensions are skipped (§7.1.1: what is
not recognised is ignored), trailers are dropped (§7.1.2 lets a recipient discard them), and both
are bounded. Anything else that is not exactly the grammar is refused: no bare LF, no space around
a size (not even the one that may stand before an extension), no sign, no prefix.
"""

from __future__ import annotations

import re
import sys
from typing import Final, TypeAlias

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # 9110 §5.6.2
_QUOTED: Final = (  # 9110 §5.6.4
    rb"\"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*\""
)
# §7.1.1; blanks around `;` and `=` must be understood, 9110 §5.6.3
_EXTENSION: Final = _TOKEN + rb"(?:[\t ]*=[\t ]*(?:%b|%b))?" % (_TOKEN, _QUOTED)
_SIZE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:;[\t ]*%b(?:[\t ]*;[\t ]*%b)*)?" % (_EXTENSION, _EXTENSION)
)
_TRAILER: Final = re.compile(_TOKEN + rb":[\t\x20-\x7e\x80-\xff]*")
_LARGE: Final = 4096  # bytes of content that are dearer to copy than to point at
_LINE: Final = 4096  # bytes in a size line or a trailer
# Bytes beyond content that a body may hold, over 16 for each chunk: what Go's net/http allows.
_EXCESS: Final = 16_384

Piece: TypeAlias = bytes | memoryview

_AT_SIZE, _AT_DATA, _AT_END, _AT_TRAILER, _DONE = range(5)
_BEGUN: Final = {  # what may come before the end of a line
    _AT_SIZE: re.compile(rb"[0-9A-Fa-f]{1,15}(?:;[\t\x20-\x7e\x80-\xff]*)?\r?"),
    _AT_END: re.compile(rb"\r"),
    _AT_TRAILER: re.compile(rb"(?:%b(?::[\t\x20-\x7e\x80-\xff]*)?)?\r?" % _TOKEN),
}


class ChunkError(ValueError):
    """The bytes are no chunked body. `content`: what came before, and was not returned yet."""

    content = b""


class Decoder:
    """One body. Feed it pieces; `end` is how far the last one was read, all of it unless `done`."""

    __slots__ = ("_excess", "_left", "_line", "_state", "done", "end")

    def __init__(self) -> None:
        self._state = _AT_SIZE
        self._left = 0  # bytes of the current chunk that are to come
        self._line = b""  # the beginning of a line that came in pieces
        self._excess = 0
        self.done = False
        self.end = 0

    def feed(self, data: bytes, at: int = 0, *, lines: int = sys.maxsize) -> list[Piece]:
        """The content in `data` from `at` on, up to so many lines of framing.

        Raises ChunkError; the decoder is of no use after that.
        """
        out: list[Piece] = []
        try:
            self.end = self._feed(data, at, lines, out)
        except ChunkError as error:
            error.content = b"".join(out)
            raise
        return out

    def _feed(self, data: bytes, at: int, lines: int, out: list[Piece]) -> int:
        end = len(data)
        while at < end and not self.done:
            if self._state == _AT_DATA:
                stop = min(end, at + self._left)
                large = stop - at >= _LARGE
                out.append(memoryview(data)[at:stop] if large else data[at:stop])
                self._left -= stop - at
                at = stop
                if not self._left:
                    self._state = _AT_END
                continue
            if not lines:
                break
            lines -= 1
            stop = data.find(b"\n", at)
            if stop < 0:
                self._line += data[at:]
                self._bound(self._line)
                if _BEGUN[self._state].fullmatch(self._line) is None:
                    raise ChunkError("a line is malformed")
                return end
            line = self._line + data[at : stop + 1]
            self._line = b""
            at = stop + 1
            self._bound(line)
            if line[-2:] != b"\r\n":
                raise ChunkError("a line ends without CR LF")
            self._take(line[:-2])
        return at

    def _bound(self, line: bytes) -> None:
        if len(line) > _LINE or (self._state == _AT_END and line not in (b"\r", b"\r\n")):
            raise ChunkError("a line is too long")

    def _take(self, line: bytes) -> None:
        self._excess += len(line) - 14
        self._excess = max(self._excess, 0)
        if self._excess > _EXCESS:
            raise ChunkError("more extensions and trailers than content")
        if self._state == _AT_END:
            self._state = _AT_SIZE
        elif self._state == _AT_SIZE:
            size = _SIZE.fullmatch(line)
            if size is None:
                raise ChunkError("a chunk's size is malformed")
            self._left = int(size[1], 16)
            self._state = _AT_DATA if self._left else _AT_TRAILER
        elif not line:
            self.done = True
            self._state = _DONE
        elif _TRAILER.fullmatch(line) is None:
            raise ChunkError("a trailer is malformed")
