"""Frames survive any cut of the stream, and nonsense is refused before it is kept."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ringmaster_balancer import ipc

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
fields = st.dictionaries(st.text().filter(lambda key: key != "kind"), values, max_size=4)
frames = st.builds(
    ipc.Frame, kind=st.sampled_from(ipc.Kind), fields=fields, body=st.binary(max_size=200)
)


@given(st.lists(frames, max_size=5), st.lists(st.integers(0, 3_000), max_size=8))
def test_frames_come_back_whole_however_the_stream_is_cut(sent, cuts):
    stream = b"".join(map(ipc.encode, sent))
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    decoder = ipc.Decoder()
    got = []
    for start, end in itertools.pairwise(edges):
        got += decoder.feed(stream[start:end])
    assert got == sent


@given(st.binary(max_size=400))
def test_any_bytes_give_frames_or_a_frame_error(data):
    decoder = ipc.Decoder()
    try:
        found = decoder.feed(data)
    except ipc.FrameError:
        return
    assert all(isinstance(frame, ipc.Frame) for frame in found)


@pytest.mark.parametrize("lengths", [(ipc.MAX_HEADER + 1, 0), (10, ipc.MAX_BODY + 1)])
def test_a_frame_beyond_the_bounds_is_refused_by_its_lengths_alone(lengths):
    with pytest.raises(ipc.FrameError, match="too large"):
        ipc.Decoder().feed(struct.pack("!II", *lengths))


@pytest.mark.parametrize(
    "header", [b"[]", b"{", b"{}", b'{"kind":"shout"}', b'{"kind":[]}', b"[" * 100_000]
)
def test_a_header_that_is_no_message_is_refused(header):
    with pytest.raises(ipc.FrameError, match="known kind"):
        ipc.Decoder().feed(struct.pack("!II", len(header), 0) + header)


def test_a_frame_that_the_other_side_would_refuse_is_not_sent():
    with pytest.raises(ipc.FrameError):
        ipc.encode(ipc.Frame(kind=ipc.Kind.ACK, body=bytes(ipc.MAX_BODY + 1)))
