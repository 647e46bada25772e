"""Bodies in chunks, taken apart: RFC 9112 §7.1.

Law: pure. Bytes in, content out, and where the body ended. Extensions are skipped (§7.1.1: what is
not recognised is ignored), trailers are dropped (§7.1.2 lets a recipient discard them), and both
are bounded. Anything else that is not exactly the grammar is refused: no bare LF, no space around
a size (not even the one that may stand before an extension), no sign, no prefix.
"""

from __future__ import annotations

import re
from typing import Final

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
_LINE: Final = 4096  # bytes in a size line or a trailer
# Bytes beyond content that a body may hold, over 16 for each chunk: what Go's net/http allows.
_EXCESS: Final = 16_384

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
    """One body. Feed it pieces; when `done`, `rest` is what followed the body."""

    __slots__ = ("_excess", "_left", "_line", "_state", "done", "rest")

    def __init__(self) -> None:
        self._state = _AT_SIZE
        self._left = 0  # bytes of the current chunk that are to come
        self._line = b""  # the beginning of a line that came in pieces
        self._excess = 0
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """The content in `data`. Raises ChunkError; the decoder is of no use after that."""
        out: list[bytes] = []
        try:
            self._feed(data, out)
        except ChunkError as error:
            error.content = b"".join(out)
            raise
        return out[0] if len(out) == 1 else b"".join(out)

    def _feed(self, data: bytes, out: list[bytes]) -> None:
        at = 0
        end = len(data)
        while at < end and not self.done:
            if self._state == _AT_DATA:
                piece = data[at : at + self._left]
                out.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = _AT_END
                continue
            stop = data.find(b"\n", at)
            if stop < 0:
                self._line += data[at:]
                self._bound(self._line)
                if _BEGUN[self._state].fullmatch(self._line) is None:
                    raise ChunkError("a line is malformed")
                break
            line = self._line + data[at : stop + 1]
            self._line = b""
            at = stop + 1
            self._bound(line)
            if line[-2:] != b"\r\n":
                raise ChunkError("a line ends without CR LF")
            self._take(line[:-2])
        self.rest = data[at:] if self.done else b""

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
