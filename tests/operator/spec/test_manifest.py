"""Manifests are read as kubectl reads them.

`kubectl_manifests.json` is what kubectl 1.37 made of some 350 texts, told by
`kubectl create --dry-run=client --validate=false -o json -f FILE`: each with its objects, null
where it refused the text. 1.27 and 1.32 said the same, but for what is `since` 1.33; we refuse
what is `stricter`.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import engines
import hypothesis
import local_api
import pytest
from hypothesis import strategies as st
from kubectl_tool import Kubectl
from ringmaster_operator import errors
from ringmaster_operator.spec import manifest

HEAD = "apiVersion: ringmaster.dev/v1alpha1\nkind: ServerSet\n"
RECORDED: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("kubectl_manifests.json").read_text(encoding="utf-8")
)


def faults(text: str) -> list[str]:
    with pytest.raises(errors.SpecInvalidError) as caught:
        manifest.parse_many(text, source="web.yaml")
    return [str(fault) for fault in caught.value.faults]


def value(text: str) -> object:
    return manifest.parse_many(f"{HEAD}x: {text}\n")[0]["x"]


def content(entry: dict[str, Any]) -> bytes:
    return entry["text"].encode() if "text" in entry else bytes.fromhex(entry["hex"])


def reading(data: bytes) -> list[dict[str, Any]] | None:
    try:
        return manifest.parse_many(manifest.decoded(data))
    except (errors.SpecInvalidError, UnicodeDecodeError):
        return None


def written(value: Any) -> str:
    """As JSON, so that 3 is not 3.0; an integer of more than 64 bits is a float to Go."""
    if isinstance(value, int) and not -(2**63) < value < 2**63:
        value = float(value)
    if isinstance(value, list):
        return f"[{','.join(map(written, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{written(item)}' for key, item in sorted(value.items()))}}}"
    return json.dumps(value or abs(value) if isinstance(value, int | float) else value)


@pytest.mark.parametrize("entry", RECORDED, ids=lambda entry: ascii(content(entry)[-40:]))
def test_a_text_is_what_kubectl_makes_of_it(entry: dict[str, Any]) -> None:
    expected = None if entry.get("stricter") else entry["objects"]
    assert written(reading(content(entry))) == written(expected)


def test_kubectl_makes_of_every_text_what_was_recorded(tmp_path: Path) -> None:
    engines.require("kubectl")
    with local_api.running(tmp_path) as server:
        kubectl = Kubectl(tmp_path, (f"--server={server.url}",))
        version = json.loads(kubectl.run("version", "--client", "-o", "json"))["clientVersion"]
        newest = int(version["minor"].rstrip("+")) >= 33
        asked = {
            tmp_path / f"{number}.yaml": entry
            for number, entry in enumerate(RECORDED)
            if newest or "since" not in entry
        }
        for path, entry in asked.items():
            path.write_bytes(named(content(entry), path.stem))
        flags = [f"--filename={path}" for path in asked]
        done = kubectl.ask("create", "--dry-run=client", "--validate=false", "-o", "json", *flags)
    told: dict[str, list[Any]] = {path.stem: [] for path in asked}
    for each in manifest.parse_many(done.stdout):
        del each["metadata"]["namespace"]
        each["metadata"]["name"], _, number = each["metadata"]["name"].partition("-")
        told[number].append(each)
    for path, entry in asked.items():
        refused = str(path) in done.stderr or not told[path.stem]
        found = None if refused else told[path.stem]
        assert written(found) == written(entry["objects"]), content(entry)


def named(data: bytes, suffix: str) -> bytes:
    """The text with objects a and b called a-SUFFIX and b-SUFFIX, whatever its encoding."""
    for name in ("a", "b"):
        for pattern in (f"name: {name}}}", f'"name":"{name}"'):
            for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
                fresh = f"{name}-{suffix}".join(pattern.rsplit(name, 1))
                data = data.replace(pattern.encode(encoding), fresh.encode(encoding))
    return data


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
    assert faults(f"{HEAD}spec: {{replicas: 3\nx: y\n") == [
        "web.yaml:4:2: did not find expected ',' or '}'"
    ]
    assert faults(f"{HEAD}---\n{HEAD}x: a: b\n")[0].startswith("web.yaml:6:")


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
    ],
)
def test_a_plain_scalar_is_what_kubectl_makes_of_it(text: str, wanted: object) -> None:
    assert value(text) == wanted


def test_a_key_is_the_text_that_was_written() -> None:
    assert value("{8080: a, 'on': b}") == {"8080": "a", "on": "b"}


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
    long = f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 200)}]\n"
    assert "holds more than" in faults(HEAD + long)[0]


@pytest.mark.parametrize(
    "text", ["&a [*a]", "!!python/object:os.system x", "!!binary aGk=", "!!int x", ".inf"]
)
def test_what_json_cannot_say_is_refused(text: str) -> None:
    assert faults(f"{HEAD}x: {text}\n")


def test_a_document_nested_too_deeply_is_refused() -> None:
    assert faults("- " * 5000) == ["web.yaml:1:203: is nested too deeply"]
    assert faults("[" * 5000) == ["web.yaml:1:1001: exceeded maximum nesting depth"]


@hypothesis.given(
    st.text(alphabet=st.sampled_from("ab:-{}[]&*!|>'\"\n\t #?,%@`~<.0-1e"), max_size=40)
)
def test_whatever_the_text_only_one_error_comes_out(text: str) -> None:
    with contextlib.suppress(errors.SpecInvalidError):
        manifest.parse_many(text)
