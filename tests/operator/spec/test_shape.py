"""Documents against models: paths, messages, and what is left after the faulty parts are cut."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import Field
from ringmaster_operator.spec import shape


class Entry(shape.Value):
    name: str
    size: Annotated[int, Field(ge=1)] = 1


class Pair(shape.Value):
    first: int
    second: int


class Root(shape.Value):
    title: str
    entries: Annotated[tuple[Entry, ...], Field(strict=False)] = ()
    pairs: Annotated[tuple[Pair, ...], Field(strict=False)] = ()
    by_name: dict[str, int] = Field(default_factory=dict)


def read(document: Any) -> tuple[Root, list[str], shape.Broken]:
    value, faults, broken = shape.read(Root, document, placeholders={("title",): "?"})
    return value, list(map(str, faults)), broken


def test_a_sound_document_has_no_faults() -> None:
    value, faults, broken = read({"title": "t", "byName": {"a": 1}})
    assert (value.title, value.by_name, faults, broken.places) == ("t", {"a": 1}, [], ())


def test_the_sound_rest_of_a_broken_document_is_read() -> None:
    entries = [{"name": "a", "size": 0}, {"size": 2}, {"name": "c", "size": 3}, 4]
    value, faults, _ = read({"entries": entries, "byName": {"x": "y", "z": 1}, "extra": 1})
    assert faults == [
        "title: required",
        "entries[0].size: must be at least 1, not 0",
        "entries[1].name: required",
        "entries[3]: must be an object, not 4",
        'byName.x: must be an integer, not "y"',
        "extra: unknown field",
    ]
    assert value.title == "?"
    assert value.entries == (Entry(name="a"), Entry(name="c", size=3))
    assert value.by_name == {"z": 1}


@pytest.mark.parametrize("broken", [{}, {"first": "x"}, {"second": "x"}, {"third": 3}])
def test_an_entry_with_several_faults_goes_once_and_its_neighbours_stay(broken: Any) -> None:
    whole = {"first": 1, "second": 2}
    value, faults, _ = read({"title": "t", "pairs": [broken, whole, broken]})
    assert value.pairs == (Pair(first=1, second=2),)
    assert len(faults) >= 4


@pytest.mark.parametrize(
    ("loc", "text"),
    [
        (("spec", "containers", 0, "image"), "spec.containers[0].image"),
        (("labels", "example.org/app"), "labels[example.org/app]"),
        ((), ""),
    ],
)
def test_a_path_reads_as_kubectl_writes_it(loc: shape.Loc, text: str) -> None:
    assert shape.path(loc) == text


def test_a_place_is_touched_by_a_fault_in_it_or_around_it() -> None:
    broken = shape.Broken((("spec", "ring", "hash"),))
    assert broken.touches(("spec", "ring"))
    assert broken.touches(("x",), ("spec", "ring", "hash", "deeper"))
    assert not broken.touches(("spec", "replicas"))


def test_a_long_value_is_cut_to_a_line() -> None:
    assert shape.brief("x" * 100) == '"' + "x" * 56 + "..."


def test_plain_values_are_copied() -> None:
    document: dict[str, Any] = {"a": [{"b": None, "c": 1}, None]}
    plain, faults = shape.plain(document)
    assert (plain, faults) == ({"a": [{"c": 1}, None]}, ())
    plain["a"][0]["c"] = 2
    assert document["a"][0]["c"] == 1
