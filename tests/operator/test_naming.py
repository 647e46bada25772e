"""Names and labels: derived, bounded, and read back."""

from __future__ import annotations

import re

import hypothesis
from hypothesis import strategies as st
from ringmaster_operator import naming, observed

SET_NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)
COUNTS = st.integers(min_value=0, max_value=65_534)


@hypothesis.given(SET_NAMES, st.uuids(), COUNTS, st.integers(0, 10**9), st.booleans())
def test_every_replica_name_is_a_dns_label(
    name: str, uid: object, ordinal: int, attempt: int, emergency: bool
) -> None:
    made = naming.replica_name(
        naming.member_id(name, ordinal),
        set_uid=str(uid),
        ordinal=ordinal,
        attempt=attempt,
        emergency=emergency,
    )
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", made)
    assert made.startswith("emergency-") >= emergency


def test_a_create_that_is_repeated_meets_its_own_name() -> None:
    def name(attempt: int) -> str:
        return naming.replica_name(
            "web-0", set_uid="u", ordinal=0, attempt=attempt, emergency=False
        )

    assert name(3) == name(3)
    assert name(3) != name(4)


def test_names_are_the_same_in_every_release() -> None:
    assert naming.short_hash("u/0/0") == GOLDEN_SUFFIX
    assert naming.template_hash({"spec": {"containers": []}}) == GOLDEN_REVISION


# Computed once by this very function: a change would orphan every running replica's revision.
GOLDEN_SUFFIX = "8tmqz"
GOLDEN_REVISION = "2pspqdkm5j"


def test_a_template_hash_does_not_depend_on_the_order_of_fields() -> None:
    assert naming.template_hash({"a": 1, "b": {"c": 2, "d": 3}}) == naming.template_hash(
        {"b": {"d": 3, "c": 2}, "a": 1}
    )


def test_a_selector_reads_as_kubernetes_writes_it() -> None:
    assert naming.selector({"tier": "front", "app": "web"}) == "app=web,tier=front"


def test_an_object_is_named_in_lower_case() -> None:
    assert naming.object_name("S5") == "s5"


BIRTH = observed.Birth(
    owner=observed.Owner(namespace="default", name="web", uid="u-1"),
    name="web-0-x7k2p",
    display_name="S5",
    member_id="web-0",
    ordinal=0,
    attempt=2,
    reason=observed.Reason.EMERGENCY,
    revision="abc",
    template={},
)


def test_labels_are_read_back() -> None:
    assert naming.identity(naming.labels(BIRTH) | {"app": "web"}) == naming.Identity(
        owner=BIRTH.owner,
        member_id="web-0",
        ordinal=0,
        attempt=2,
        reason=observed.Reason.EMERGENCY,
        revision="abc",
        display_name="S5",
    )


@hypothesis.given(st.sampled_from(sorted(naming.labels(BIRTH))))
def test_labels_that_are_not_complete_are_not_ours(missing: str) -> None:
    given = naming.labels(BIRTH)
    del given[missing]
    assert naming.identity(given) is None


def test_labels_that_make_no_sense_are_not_ours() -> None:
    assert naming.identity(naming.labels(BIRTH) | {naming.LABEL_ORDINAL: "x"}) is None
    assert naming.identity(naming.labels(BIRTH) | {naming.LABEL_REASON: "whim"}) is None


def test_a_selectors_text_says_what_it_was_made_of():
    labels = {"app": "web", "example.org/tier": "", "b": "2"}
    assert naming.match_labels(naming.selector(labels)) == labels
    assert naming.match_labels("") == {}
