"""Manifests are read as kubectl reads them."""

from __future__ import annotations

import contextlib
import json

import hypothesis
import pytest
from hypothesis import strategies as st
from ringmaster_operator import errors
from ringmaster_operator.spec import manifest

HEAD = "apiVersion: ringmaster.dev/v1alpha1\nkind: ServerSet\n"


def faults(text: str) -> list[str]:
    with pytest.raises(errors.SpecInvalidError) as caught:
        manifest.parse_many(text, source="web.yaml")
    return [str(fault) for fault in caught.value.faults]


def value(text: str) -> object:
    return manifest.parse_many(f"{HEAD}x: {text}\n")[0]["x"]


def test_several_documents_are_read_and_empty_ones_left_out() -> None:
    text = (
        f"---\n# nothing\n---\n{HEAD}metadata: {{name: a}}\n---\n{HEAD}metadata: {{name: b}}\n---\n"
    )
    assert [item["metadata"]["name"] for item in manifest.parse_many(text)] == ["a", "b"]


def test_json_is_read_tabs_included() -> None:
    document = {"apiVersion": "ringmaster.dev/v1alpha1", "kind": "ServerSet", "x": [1, None, "ü"]}
    assert manifest.parse_many(json.dumps(document)) == [document]
    assert manifest.parse_many(json.dumps(document, indent="\t")) == [document]


def test_a_list_is_unpacked() -> None:
    text = "kind: List\napiVersion: v1\nitems:\n- {kind: ServerSet, apiVersion: ringmaster.dev/v1alpha1}\n"
    assert len(manifest.parse_many(text)) == 1


def test_a_syntax_error_names_line_and_column() -> None:
    assert faults(f"{HEAD}spec: {{replicas: 3\nx: y\n")[0].startswith("web.yaml:4:2: expected")


def test_every_foreign_document_is_named_with_its_line() -> None:
    text = f"kind: Pod\napiVersion: v1\n---\n{HEAD}---\n{HEAD.replace('alpha', 'beta')}---\n[1]\n"
    assert faults(text) == [
        'web.yaml:1: kind must be "ServerSet", not "Pod"',
        'web.yaml:7: apiVersion must be "ringmaster.dev/v1alpha1", not "ringmaster.dev/v1beta1"',
        "web.yaml:10: must be an object, not [1]",
    ]


def test_an_empty_file_is_refused() -> None:
    assert faults("") == ["web.yaml: holds no object"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-11-23T07:40:00Z", "2026-11-23T07:40:00Z"),
        ("1:30", "1:30"),
        ("1e3", 1000.0),
        ("0644", 420),
        ("yes", True),
        ("~", None),
        ("=", "="),
        ("9" * 5000, "9" * 5000),
        (".inf", ".inf"),
    ],
)
def test_a_plain_scalar_is_what_kubectl_makes_of_it(text: str, wanted: object) -> None:
    assert value(text) == wanted


def test_a_key_is_the_text_that_was_written() -> None:
    assert value("{8080: a, on: b}") == {"8080": "a", "on": "b"}


def test_a_key_that_is_set_twice_is_refused() -> None:
    assert faults(f"{HEAD}kind: ServerSet\n") == ['web.yaml:3:1: key "kind" is already set']


def test_anchors_and_merge_keys_work() -> None:
    assert value("{a: &a {k: v}, b: {<<: *a, l: w}}") == {
        "a": {"k": "v"},
        "b": {"k": "v", "l": "w"},
    }


def test_aliases_cannot_multiply() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    assert "holds more than" in faults(HEAD + bomb)[0]


@pytest.mark.parametrize(
    "text", ["&a [*a]", "!!python/object:os.system x", "!!binary aGk=", "!!int x"]
)
def test_what_json_cannot_say_is_refused(text: str) -> None:
    assert faults(f"{HEAD}x: {text}\n")


def test_a_document_nested_too_deeply_is_refused() -> None:
    assert faults("[" * 5000) == ["web.yaml: is nested too deeply"]


@hypothesis.given(
    st.text(alphabet=st.sampled_from("ab:-{}[]&*!|>'\"\n\t #?,%@`~<.0-1e"), max_size=40)
)
def test_whatever_the_text_only_one_error_comes_out(text: str) -> None:
    with contextlib.suppress(errors.SpecInvalidError):
        manifest.parse_many(text)
