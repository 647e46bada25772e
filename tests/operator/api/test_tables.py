from __future__ import annotations

import pytest
from ringmaster_operator.api import tables


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0s"),
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (192, "3m12s"),
        (18 * 60, "18m"),
        (179 * 60, "179m"),
        (3 * 3600, "3h"),
        (5 * 3600 + 180, "5h3m"),
        (47 * 3600, "47h"),
        (52 * 3600, "2d4h"),
        (19 * 86_400, "19d"),
        (729 * 86_400, "729d"),
        (2 * 365 * 86_400 + 86_400, "2y1d"),
        (20 * 365 * 86_400, "20y"),
    ],
)
def test_ages_read_as_with_kubectl(seconds: float, shown: str) -> None:
    assert tables.age(seconds) == shown


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".spec.replicas", 3),
        (".spec.missing.deeper", None),
        ('.status.conditions[?(@.type=="Ready")].status', "True"),
        ('.status.conditions[?(@.type=="Other")].status', None),
        (".status.conditions[0].type", "Ready"),
        (".status.conditions[7].type", None),
        (".spec.replicas.deeper", None),
    ],
)
def test_a_column_finds_its_value_or_nothing(path: str, value: object) -> None:
    document = {
        "spec": {"replicas": 3},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    assert tables.lookup(document, path) == value


@pytest.mark.parametrize(
    ("include", "kind"),
    [("Object", "ServerSet"), ("Metadata", "PartialObjectMetadata"), ("None", None)],
)
def test_a_row_carries_as_much_of_its_object_as_was_asked_for(
    include: str, kind: str | None
) -> None:
    document = {"kind": "ServerSet", "metadata": {"name": "web"}}
    age = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
    made = tables.table((tables.NAME, age), [document], now=0, version=7, include=include)
    (row,) = made["rows"]
    assert (row["object"] or {}).get("kind") == kind
    assert row["cells"] == ["web", "<unknown>"]
    assert made["metadata"] == {"resourceVersion": "7"}
