"""What makes no sense is refused, with its path; what makes sense is taken."""

from __future__ import annotations

from typing import Any

import pytest
import serversets
from ringmaster_operator import spec
from serversets import changed, faults


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("metadata.name", "Web", "metadata.name"),
        ("metadata.name", "a" * 41, "metadata.name"),
        ("metadata.name", "web\n", "metadata.name"),
        ("metadata.namespace", "a.b", "metadata.namespace"),
        ("metadata.lables", {}, "metadata.lables"),
        ("metadata.labels", {"a b": "c"}, "metadata.labels"),
        ("metadata.labels", {"a": "-"}, "metadata.labels.a"),
        ("spec.replicas", 101, "spec.replicas"),
        ("spec.names", ["S5", "s5"], "spec.names[1]"),
        ("spec.names", ["-rf"], "spec.names[0]"),
        ("spec.names", ["ok", "a;b"], "spec.names[1]"),
        ("spec.names", ["a" * 64], "spec.names[0]"),
        ("spec.minReadySeconds", 600, "spec.progressDeadlineSeconds"),
        ("spec.strategy", {"type": "Recreate", "rollingUpdate": {}}, "spec.strategy.rollingUpdate"),
        ("spec.ring.hash", "md6", "spec.ring.hash"),
        ("spec.ring.key", [{}], "spec.ring.key[0]"),
        ("spec.ring.key", [{"path": True}, {"header": "A", "query": "b"}], "spec.ring.key[1]"),
        ("spec.ring.key", [{"header": "A b"}], "spec.ring.key[0].header"),
        ("spec.ring.key", [{"query": ""}], "spec.ring.key[0].query"),
        ("spec.ring", {"scheme": "maglev", "slots": 65_536}, "spec.ring.slots"),
        ("spec.ring", {"scheme": "classic", "slots": 26}, "spec.ring.slots"),
        ("spec.ring", {"virtualNodes": 9}, "spec.ring.virtualNodes"),
        ("spec.ring", {"probing": "quadratic"}, "spec.ring.probing"),
        ("spec.balancer.urls", ["http://a:1"], "spec.balancer.urls"),
        ("spec.balancer", {"urls": ["ftp://a"]}, "spec.balancer.urls[0]"),
        ("spec.balancer", {"urls": ["http://"]}, "spec.balancer.urls[0]"),
        ("spec.balancer", {"urls": ["http://u:p@a"]}, "spec.balancer.urls[0]"),
        ("spec.balancer", {"urls": ["http://a:99999"]}, "spec.balancer.urls[0]"),
        ("spec.balancer", {"urls": ["http://a:1", "http://a:1/"]}, "spec.balancer.urls[1]"),
        ("spec.balancer", {"urls": ["http://a:81", "http://A:081"]}, "spec.balancer.urls[1]"),
        ("spec.balancer", {"urls": ["https://a", "HTTPS://a:443/"]}, "spec.balancer.urls[1]"),
        ("metadata.annotations", {"a b": "c"}, "metadata.annotations"),
        ("metadata.annotations", {"a": "ä" * 131_072}, "metadata.annotations"),
        (
            "spec.template.metadata.annotations",
            {"a/b/c": ""},
            "spec.template.metadata.annotations",
        ),
        *(
            (
                "spec.strategy.rollingUpdate",
                {"maxSurge": surge, "maxUnavailable": unavailable},
                "spec.strategy.rollingUpdate",
            )
            for surge, unavailable in [(0, 0), ("0%", 0), ("00%", "00%"), (0, "000000000%")]
        ),
        (
            "spec.template.metadata.labels",
            {"app": "web", "ringmaster.dev/reason": "x"},
            "spec.template.metadata.labels[ringmaster.dev/reason]",
        ),
    ],
)
def test_a_senseless_value_is_refused_with_its_path(path: str, value: object, where: str) -> None:
    (found,) = faults(changed((path, value)))
    assert found.split(": ")[0] == where


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.replicas", 0),
        ("spec.maxReplicas", 3),
        ("spec.names", ["S5", "a_b.c-d"]),
        ("spec.strategy", {"type": "Recreate", "rollingUpdate": None}),
        ("spec.strategy.rollingUpdate", {"maxSurge": "25%", "maxUnavailable": "25%"}),
        ("spec.strategy.rollingUpdate", {"maxSurge": "01%", "maxUnavailable": "000100%"}),
        ("metadata.annotations", {"Example.org/Note_1": "any\x01 text"}),
        ("spec.ring", {"scheme": "classic"}),
        ("spec.ring", {"hash": "my_module.hashes:best"}),
        ("spec.ring", {"key": [{"clientAddress": True}]}),
        ("spec.ring", {"key": []}),
        ("spec.balancer", {"urls": ["http://[::1]:5001", "https://lb.example/"]}),
        ("spec.balancer", ...),
        ("spec.template.spec.nodeSelector", {"disk": "ssd"}),
        ("metadata.ownerReferences", [{"kind": "App"}]),
        ("metadata.creationTimestamp", None),
        ("status", {"replicas": 3}),
    ],
)
def test_a_sensible_value_is_taken(path: str, value: object) -> None:
    assert faults(changed((path, value))) == []


def test_the_selector_is_immutable() -> None:
    old = spec.parse(serversets.example())
    label = {"app": "web2"}
    new = spec.parse(
        changed(("spec.selector.matchLabels", label), ("spec.template.metadata.labels", label))
    )
    assert [str(fault) for fault in spec.faults_of_change(old, new)] == [
        "spec.selector: is immutable"
    ]
    assert spec.faults_of_change(old, old) == ()


def test_too_few_slots_are_worth_a_warning() -> None:
    def warnings(*changes: tuple[str, Any]) -> list[str]:
        return [line.split(": ")[0] for line in spec.warnings(spec.parse(changed(*changes)))]

    assert warnings() == []
    assert warnings(("spec.ring.slots", 1_949)) == ["spec.ring.slots"]
    assert warnings(("spec.ring.slots", 1_950)) == []
    assert warnings(("spec.ring", {"scheme": "classic"})) == []
    assert warnings(("spec.balancer", ...)) == ["spec.balancer"]
