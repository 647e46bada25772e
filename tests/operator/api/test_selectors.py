from __future__ import annotations

import pytest
from ringmaster_operator.api import problems, selectors

WEB = {"metadata": {"name": "web", "labels": {"app": "web", "example.org/tier": "a"}}}
BARE = {"metadata": {"name": "bare"}}


@pytest.mark.parametrize(
    ("text", "web", "bare"),
    [
        ("", True, True),
        ("app=web", True, False),
        ("app==web", True, False),
        ("app = web , example.org/tier=a", True, False),
        ("app!=web", False, True),
        ("app in (web, shop)", True, False),
        ("app notin (web,shop)", False, True),
        ("app in (shop),app", False, False),
        ("app", True, False),
        ("!app", False, True),
        ("app=", False, False),
    ],
)
def test_labels_are_chosen_as_kubernetes_does(text: str, web: bool, bare: bool) -> None:
    matches = selectors.labels(text)
    assert (matches(WEB), matches(BARE)) == (web, bare)


@pytest.mark.parametrize("text", ["a=b=c", "(", "in (a)", "a in b", "-a", "a in (b", "a>1", "ä=1"])
def test_a_selector_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(problems.Problem) as said:
        selectors.labels(text)
    assert said.value.code == 400


def test_only_known_fields_are_chosen_by() -> None:
    known = ("metadata.name",)
    assert selectors.fields("metadata.name=web", known=known)(WEB)
    assert not selectors.fields("metadata.name!=web", known=known)(WEB)
    assert selectors.fields("", known=known)(WEB)
    for text in ("spec.replicas=3", "metadata.name", "=", "metadata.name=a=b"):
        with pytest.raises(problems.Problem):
            selectors.fields(text, known=known)
