"""The CustomResourceDefinition, generated from the model: manifests/crd.yaml is its output.

Law: pure. `python -m ringmaster_operator.spec.crd` prints it; `--no-cel` leaves out the rules across
fields, which clusters before 1.25 do not take (the operator checks them anyway, and says so in a
condition).
"""

from __future__ import annotations

import json
import sys
from typing import Any

import yaml

from ringmaster_operator import naming
from ringmaster_operator.spec import pod, resource, structural

Schema = structural.Schema

# As kubectl prints them: `get`, and with priority 1 only `get -o wide`.
COLUMNS: tuple[dict[str, Any], ...] = (
    {
        "name": "Desired",
        "type": "integer",
        "description": "Replicas that shall serve.",
        "jsonPath": ".spec.replicas",
    },
    {
        "name": "Ready",
        "type": "integer",
        "description": "Replicas that are ready.",
        "jsonPath": ".status.readyReplicas",
    },
    {
        "name": "Available",
        "type": "integer",
        "description": "Replicas that have been ready for minReadySeconds.",
        "jsonPath": ".status.availableReplicas",
    },
    {
        "name": "In-Ring",
        "type": "integer",
        "description": "Members that the balancers hold as active.",
        "jsonPath": ".status.inRing",
    },
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    {
        "name": "Current",
        "type": "integer",
        "description": "Replicas that exist and are not ending.",
        "jsonPath": ".status.replicas",
        "priority": 1,
    },
    {
        "name": "Updated",
        "type": "integer",
        "description": "Replicas of the newest template.",
        "jsonPath": ".status.updatedReplicas",
        "priority": 1,
    },
    {
        "name": "Revision",
        "type": "string",
        "description": "The template that last was rolled out completely.",
        "jsonPath": ".status.currentRevision",
        "priority": 1,
    },
    {
        "name": "Selector",
        "type": "string",
        "description": "Whose replicas these are.",
        "jsonPath": ".status.selector",
        "priority": 1,
    },
)

# Where in the schema → (rule, what is said when it does not hold). Each is also a rule in `rules`.
_CEL: dict[tuple[str, ...], tuple[tuple[str, str], ...]] = {
    ("spec",): (
        ("self.replicas <= self.maxReplicas", "replicas must be at most maxReplicas"),
        (
            "self.progressDeadlineSeconds > self.minReadySeconds",
            "progressDeadlineSeconds must be greater than minReadySeconds",
        ),
    ),
    ("spec", "selector"): (("self == oldSelf", "selector is immutable"),),
    ("spec", "strategy"): (
        (
            "self.type != 'Recreate' || !has(self.rollingUpdate)",
            "rollingUpdate must not be set when type is Recreate",
        ),
    ),
    ("spec", "strategy", "rollingUpdate"): (
        (
            " || ".join(
                f"(type(self.{name}) == int ? self.{name} != 0 : !self.{name}.matches('^0+%$'))"
                for name in ("maxSurge", "maxUnavailable")
            ),
            "maxSurge and maxUnavailable must not both be 0",
        ),
    ),
    ("spec", "balancer"): (
        (
            "!has(self.selector) || !has(self.urls) || size(self.urls) == 0",
            "selector and urls must not be set together",
        ),
    ),
}


def schema(*, cel: bool = False) -> Schema:
    """The structural schema of a ServerSet (`openAPIV3Schema`), also what OpenAPI v3 shows."""
    root = structural.schema(resource.ServerSet)
    fields = root["properties"]
    for name in ("apiVersion", "kind"):
        fields[name] = {"type": "string", "description": fields[name]["description"]}
    # Of metadata, a definition may restrict the name and nothing else.
    fields["metadata"] = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 40}},
    }
    template = structural.schema(pod.Template, template=True)
    spec = fields["spec"]["properties"]
    spec["template"] = template | {"description": spec["template"]["description"]}
    # A default here would be there with type Recreate, too, where it must not.
    del spec["strategy"]["properties"]["rollingUpdate"]["default"]
    spec["ring"]["properties"]["key"]["items"] |= {"minProperties": 1, "maxProperties": 1}
    fields["status"] = structural.schema(resource.Status)
    fields["status"]["description"] = "What exists; written by the operator."
    conditions = fields["status"]["properties"]["conditions"]
    conditions |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}
    del conditions["default"]
    root["required"] = ["metadata", "spec"]
    if cel:
        _add_rules(root)
    return root


def document(*, cel: bool = True) -> dict[str, Any]:
    """The CustomResourceDefinition; `cel=False` for clusters before 1.25."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{naming.PLURAL}.{naming.GROUP}"},
        "spec": {
            "group": naming.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": naming.KIND,
                "listKind": f"{naming.KIND}List",
                "plural": naming.PLURAL,
                "singular": naming.SINGULAR,
                "shortNames": [naming.SHORT_NAME],
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": naming.VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema(cel=cel)},
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.replicas",
                            "statusReplicasPath": ".status.replicas",
                            "labelSelectorPath": ".status.selector",
                        },
                    },
                    "additionalPrinterColumns": [dict(column) for column in COLUMNS],
                }
            ],
        },
    }


def text(*, cel: bool = True) -> str:
    """The definition as YAML, as it stands in manifests/."""
    head = "# Generated from the model by `make manifests`: do not edit.\n"
    plain = json.loads(json.dumps(document(cel=cel)))  # no object twice: no YAML aliases
    return head + yaml.safe_dump(plain, sort_keys=False, width=100, allow_unicode=True)


def _add_rules(root: Schema) -> None:
    for path, rules in _CEL.items():
        place = root
        for name in path:
            place = place["properties"][name]
        place["x-kubernetes-validations"] = [
            {"rule": rule, "message": message} for rule, message in rules
        ]


if __name__ == "__main__":
    sys.stdout.write(text(cel="--no-cel" not in sys.argv[1:]))
