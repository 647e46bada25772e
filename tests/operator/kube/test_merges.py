"""Merge patches from two documents."""

from __future__ import annotations

from hypothesis import given, strategies
from ringmaster_operator import applying
from ringmaster_operator.kube import merges

KEYS = strategies.sampled_from(["a", "b", "c"])
DOCUMENTS = strategies.dictionaries(
    KEYS,
    strategies.recursive(
        strategies.integers() | strategies.text(max_size=2) | strategies.lists(KEYS),
        lambda inner: strategies.dictionaries(KEYS, inner),
        max_leaves=6,
    ),
)


@given(before=DOCUMENTS, after=DOCUMENTS)
def test_merged_into_the_one_it_makes_the_other(before, after):
    assert applying.merged(before, merges.difference(before, after)) == after


@given(document=DOCUMENTS)
def test_without_a_difference_there_is_nothing_to_write(document):
    assert merges.difference(document, document) == {}


def test_what_is_not_touched_is_not_mentioned():
    before = {"spec": {"replicas": 3, "names": ["a"]}, "status": {"x": 1}}
    after = {"spec": {"replicas": 3, "names": []}, "status": {"x": 1}}
    assert merges.difference(before, after) == {"spec": {"names": []}}
