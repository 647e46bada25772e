"""What this API has, as kubectl asks before anything else: versions, groups, resources.

Law: pure constants in the old discovery's form, which every kubectl falls back to.
"""

from __future__ import annotations

import platform
from typing import Any

import ringmaster_operator
from ringmaster_operator import naming
from ringmaster_operator.api import tables
from ringmaster_operator.spec import crd

Document = dict[str, Any]

SET_COLUMNS = (tables.NAME, *crd.COLUMNS)
EVENT_COLUMNS: tuple[tables.Column, ...] = (
    {"name": "Last Seen", "type": "date", "jsonPath": ".lastTimestamp"},
    {"name": "Type", "type": "string", "jsonPath": ".type"},
    {"name": "Reason", "type": "string", "jsonPath": ".reason"},
    {"name": "Object", "type": "string", "jsonPath": ".involvedObject.name"},
    {"name": "Count", "type": "integer", "jsonPath": ".count", "priority": 1},
    {"name": "Message", "type": "string", "jsonPath": ".message"},
)
_KUBERNETES = ("1", "32")  # whose API conventions these are; kubectl warns of a wide skew
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


def version() -> Document:
    """`/version`."""
    major, minor = _KUBERNETES
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{major}.{minor}.0+ringmaster-{ringmaster_operator.__version__}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": platform.python_implementation(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }


def core_versions() -> Document:
    """`/api`."""
    return {"kind": "APIVersions", "apiVersion": "v1", "versions": ["v1"]}


def core_resources() -> Document:
    """`/api/v1`: events, without which `kubectl api-resources` calls the list empty."""
    return _resources(
        "v1",
        {
            "name": "events",
            "singularName": "event",
            "namespaced": True,
            "kind": "Event",
            "verbs": ["get", "list", "watch"],
            "shortNames": ["ev"],
        },
    )


def groups() -> Document:
    """`/apis`."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]}


def group() -> Document:
    """`/apis/ringmaster.dev`."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group()}


def group_resources() -> Document:
    """`/apis/ringmaster.dev/v1alpha1`."""
    common = {"singularName": "", "namespaced": True, "verbs": ["get", "patch", "update"]}
    return _resources(
        naming.API_VERSION,
        {
            "name": naming.PLURAL,
            "singularName": naming.SINGULAR,
            "namespaced": True,
            "kind": naming.KIND,
            "verbs": _VERBS,
            "shortNames": [naming.SHORT_NAME],
            "categories": ["all"],
        },
        {"name": f"{naming.PLURAL}/status", "kind": naming.KIND, **common},
        {
            "name": f"{naming.PLURAL}/scale",
            "group": "autoscaling",
            "version": "v1",
            "kind": "Scale",
            **common,
        },
    )


def _group() -> Document:
    preferred = {"groupVersion": naming.API_VERSION, "version": naming.VERSION}
    return {"name": naming.GROUP, "versions": [preferred], "preferredVersion": preferred}


def _resources(group_version: str, *resources: Document) -> Document:
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": list(resources),
    }
