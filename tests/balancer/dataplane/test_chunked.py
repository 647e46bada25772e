"""Chunked bodies taken apart, against the grammar and against h11."""

from __future__ import annotations

import itertools

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer.dataplane import chunked

EXTENSIONS = st.sampled_from(
    [b"", b";a", b";a=b", b'; q="x\\" y"', b";a = b ; c", b";" + b"e" * 100]
)
TRAILERS = st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nHost: evil\r\n"])


def encoded(pieces: list[bytes], extension: bytes, trailers: bytes) -> bytes:
    chunks = b"".join(b"%X%b\r\n%b\r\n" % (len(p), extension, p) for p in pieces if p)
    return chunks + b"000\r\n" + trailers + b"\r\n"


@given(
    st.lists(st.binary(max_size=50), max_size=8),
    EXTENSIONS,
    TRAILERS,
    st.binary(max_size=9),
    st.lists(st.integers(0, 500), max_size=20),
)
def test_a_body_comes_out_as_it_went_in_however_it_is_cut(
    pieces: list[bytes], extension: bytes, trailers: bytes, after: bytes, cuts: list[int]
) -> None:
    raw = encoded(pieces, extension, trailers)
    edges = [0, *sorted(cut for cut in cuts if cut < len(raw)), len(raw)]
    parts = [raw[a:b] for a, b in itertools.pairwise(edges)]
    parts[-1] += after
    decoder = chunked.Decoder()
    got = b"".join(piece for part in parts if part for piece in decoder.feed(part))
    assert (got, decoder.done) == (b"".join(pieces), True)
    assert parts[-1][decoder.end :] == after


@given(st.text(alphabet="01aF;=x \t\r\n:-+g", max_size=40))
def test_what_is_taken_h11_takes_too_and_with_the_same_content(text: str) -> None:
    raw = text.encode()
    decoder = chunked.Decoder()
    try:
        content = b"".join(decoder.feed(raw))
    except chunked.ChunkError:
        return
    if not decoder.done:
        return
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + raw)
    server.next_event()
    witness = b""
    while isinstance(event := server.next_event(), h11.Data):
        witness += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert witness == content
    assert server.trailing_data[0] == raw[decoder.end :]


@pytest.mark.parametrize(
    "raw",
    [
        b"-1\r\n",
        b"0x1\r\n",
        b"1\n",
        b" 1\r\n",
        b"1 \r\n",
        b"\r\n",
        b"1\r\nab",
        b"G\r\n",
        b"1" * 16 + b"\r\n",
        b"1" * 5000,
        b"0\r\nA b\r\n",
        b"0\r\nA: \x01\r\n",
        b"1;\x0b\r\n",
    ],
)
def test_what_is_not_the_grammar_is_refused(raw: bytes) -> None:
    with pytest.raises(chunked.ChunkError):
        chunked.Decoder().feed(raw)
    decoder = chunked.Decoder()
    with pytest.raises(chunked.ChunkError):
        any(decoder.feed(raw[n : n + 1]) is None for n in range(len(raw)))


def test_small_chunks_are_no_abuse_and_long_extensions_are() -> None:
    decoder = chunked.Decoder()
    decoder.feed(b"1\r\na\r\n" * 100_000 + b"0\r\n\r\n")
    assert decoder.done
    with pytest.raises(chunked.ChunkError):
        chunked.Decoder().feed((b"1;" + b"e" * 100 + b"\r\na\r\n") * 1000)
