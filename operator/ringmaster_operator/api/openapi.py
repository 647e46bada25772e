"""OpenAPI v3, from which kubectl learns the fields (`explain`) and that the server validates.

Law: pure, generated from the CustomResourceDefinition's schema. Every write declares the
`fieldValidation` parameter: kubectl then leaves the validation to us, and without it `apply` fails.
A PATCH declares the media types that are accepted, so that kubectl does not try strategic ones.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ringmaster_operator import naming
from ringmaster_operator.api import bodies, patches
from ringmaster_operator.spec import crd

Document = dict[str, Any]

GROUP_PATH = f"apis/{naming.API_VERSION}"
CORE_PATH = "api/v1"
_MODEL = f"dev.ringmaster.{naming.VERSION}.{naming.KIND}"
_LIST = f"{_MODEL}List"
_SCALE = "io.k8s.api.autoscaling.v1.Scale"
_EVENT = "io.k8s.api.core.v1.Event"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_GVK = "x-kubernetes-group-version-kind"
_OWN = {"group": naming.GROUP, "version": naming.VERSION, "kind": naming.KIND}
_TEXT: Document = {"type": "string"}
_TIME: Document = {"type": "string", "format": "date-time"}
_WHOLE: Document = {"type": "integer"}


def index() -> Document:
    """`/openapi/v3`: where the documents are; the hash lets kubectl cache them."""
    documents = {GROUP_PATH: group(), CORE_PATH: core()}
    return {
        "paths": {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={_hash(document)}"}
            for path, document in documents.items()
        }
    }


def group() -> Document:
    """`/openapi/v3/apis/ringmaster.dev/v1alpha1`."""
    model = dict(crd.schema())
    properties = {**model.get("properties", {}), "metadata": _reference(_META)}
    model |= {"type": "object", "properties": properties, _GVK: [_OWN]}
    base = f"/{GROUP_PATH}/namespaces/{{namespace}}/{naming.PLURAL}"
    name = f"{base}/{{name}}"
    return _document(
        paths={
            f"/{GROUP_PATH}/{naming.PLURAL}": {"get": _read("list", _LIST)},
            base: {"get": _read("list", _LIST), "post": _write("post", _MODEL)},
            name: {
                "get": _read("get", _MODEL),
                "put": _write("put", _MODEL),
                "patch": _write("patch", _MODEL),
                "delete": _delete(),
            },
            f"{name}/status": {
                "get": _read("get", _MODEL),
                "put": _write("put", _MODEL),
                "patch": _write("patch", _MODEL),
            },
            f"{name}/scale": {
                "get": _read("get", _SCALE, kind=_scale_kind()),
                "put": _write("put", _SCALE, kind=_scale_kind()),
                "patch": _write("patch", _SCALE, kind=_scale_kind()),
            },
        },
        schemas={_MODEL: model, _LIST: _list(), _SCALE: _scale(), _META: _metadata()},
    )


def core() -> Document:
    """`/openapi/v3/api/v1`."""
    kind = {"group": "", "version": "v1", "kind": "Event"}
    event = _object(
        "Something that happened to a ServerSet.",
        {
            "metadata": _reference(_META),
            "involvedObject": {"type": "object", "additionalProperties": _TEXT},
            **dict.fromkeys(("apiVersion", "kind", "type", "reason", "message"), _TEXT),
            **dict.fromkeys(("firstTimestamp", "lastTimestamp"), _TIME),
            "count": _WHOLE,
        },
    )
    path = f"/{CORE_PATH}/namespaces/{{namespace}}/events"
    return _document(
        paths={
            path: {"get": _read("list", _EVENT, kind=kind)},
            f"{path}/{{name}}": {"get": _read("get", _EVENT, kind=kind)},
        },
        schemas={_EVENT: event | {_GVK: [kind]}, _META: _metadata()},
    )


def _document(*, paths: Document, schemas: Document) -> Document:
    return {
        "openapi": "3.0.0",
        "info": {"title": "Ringmaster", "version": naming.VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _read(action: str, model: str, *, kind: Document = _OWN) -> Document:
    content = {bodies.JSON: {"schema": _reference(model)}}
    return {
        "x-kubernetes-action": action,
        _GVK: kind,
        "responses": {"200": {"description": "OK", "content": content}},
    }


def _write(action: str, model: str, *, kind: Document = _OWN) -> Document:
    accepted = patches.ACCEPTED if action == "patch" else (bodies.JSON,)
    parameters = ("dryRun", "fieldManager", "fieldValidation")
    return _read(action, model, kind=kind) | {
        "parameters": [{"name": each, "in": "query", "schema": _TEXT} for each in parameters],
        "requestBody": {"content": {each: {"schema": {"type": "object"}} for each in accepted}},
    }


def _delete() -> Document:
    return _read("delete", _MODEL) | {
        "parameters": [{"name": "dryRun", "in": "query", "schema": _TEXT}]
    }


def _reference(model: str) -> Document:
    return {"$ref": f"#/components/schemas/{model}"}


def _object(description: str, properties: Document) -> Document:
    return {"description": description, "type": "object", "properties": properties}


def _list() -> Document:
    properties = {
        "apiVersion": _TEXT,
        "kind": _TEXT,
        "metadata": {"type": "object"},
        "items": {"type": "array", "items": _reference(_MODEL)},
    }
    return _object("A list of ServerSets.", properties) | {
        _GVK: [_OWN | {"kind": f"{naming.KIND}List"}]
    }


def _scale_kind() -> Document:
    return {"group": "autoscaling", "version": "v1", "kind": "Scale"}


def _scale() -> Document:
    properties = {
        "apiVersion": _TEXT,
        "kind": _TEXT,
        "metadata": _reference(_META),
        "spec": _object("What is wanted.", {"replicas": _WHOLE}),
        "status": _object("What is there.", {"replicas": _WHOLE, "selector": _TEXT}),
    }
    return _object("The replica count of a ServerSet.", properties) | {_GVK: [_scale_kind()]}


def _metadata() -> Document:
    texts: Document = {"type": "object", "additionalProperties": _TEXT}
    names = ("name", "generateName", "namespace", "uid", "resourceVersion")
    times = ("creationTimestamp", "deletionTimestamp")
    return _object(
        "Standard object's metadata.",
        {
            **dict.fromkeys(names, _TEXT),
            **dict.fromkeys(times, _TIME),
            "generation": _WHOLE,
            "labels": texts,
            "annotations": texts,
        },
    )


def _hash(document: Document) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32].upper()
