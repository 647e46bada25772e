"""A memory in an annotation."""

from __future__ import annotations

import dataclasses
import json
import uuid

import pytest
from ringmaster_operator import errors, memory, naming
from ringmaster_operator.kube import memos


def of_size(count):
    """The memory of a set of so many replicas, as it looks at rest."""
    uids = [str(uuid.uuid4()) for _ in range(count)]
    return memory.Memory(
        epoch=1763863200123,
        generation=7,
        content="c" * 32,
        places={
            n: memory.Place(seen=True, due=False, revision="abcdefghij", tried_at=1763863200.25 + n)
            for n in range(count)
        },
        proven=tuple(sorted(uids)),
        members=tuple(
            memory.Member(
                id=f"web-{n}",
                replica=f"web-{n}-x7k2p",
                state="active",
                address=f"10.1.{n // 256}.{n % 256}:5000",
                uid=uid,
                created_at=1763863200.0,
            )
            for n, uid in enumerate(uids)
        ),
        revisions=(memory.Revision(hash="abcdefghij", number=1, template={}, proven=True),),
        current="abcdefghij",
    )


@pytest.mark.parametrize("count", [0, 3, 300])
def test_what_was_kept_is_read_again(count):
    value = of_size(count)
    assert memos.decode(memos.encode(value)) == value


def test_a_small_memory_can_be_read_by_people():
    assert json.loads(memos.encode(of_size(3)))["current"] == "abcdefghij"


def test_templates_are_kept_elsewhere():
    value = of_size(1)
    (revision,) = value.revisions
    full = dataclasses.replace(revision, template={"spec": {"x": "y" * 100_000}})
    assert memos.encode(dataclasses.replace(value, revisions=(full,))) == memos.encode(value)


def test_a_thousand_replicas_fit_into_an_annotation():
    assert len(memos.encode(of_size(1_000))) < memos.LONGEST_BYTES / 2


def test_what_does_not_fit_is_not_written():
    with pytest.raises(errors.RetryLater, match="too large"):
        memos.encode(of_size(5_000))


@pytest.mark.parametrize("text", ["", "{", "!!!", "eJwrycgsVgAANgcKAA==", "[]", '{"places": 3}'])
def test_what_cannot_be_read_counts_as_lost(text):
    assert memos.decode(text) == memory.Memory()


def test_the_annotation_is_found():
    document = {"metadata": {"annotations": {naming.ANNOTATION_MEMORY: "x"}}}
    assert memos.text(document) == "x"
    assert memos.text({"metadata": {}}) == ""
