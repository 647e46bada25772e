"""Where the API server keeps what we use.

Law: pure.
"""

from __future__ import annotations

from ringmaster_operator import naming

SETS_EVERYWHERE = f"/apis/{naming.API_VERSION}/{naming.PLURAL}"


def sets(namespace: str, name: str = "", *, sub: str = "") -> str:
    """ServerSets, one of them, or its subresource."""
    return _path(f"/apis/{naming.API_VERSION}/namespaces/{namespace}/{naming.PLURAL}", name, sub)


def pods(namespace: str, name: str = "") -> str:
    """Pods."""
    return _path(f"/api/v1/namespaces/{namespace}/pods", name)


def events(namespace: str, name: str = "") -> str:
    """Events, those of core/v1: every version has them, and `kubectl describe` reads them."""
    return _path(f"/api/v1/namespaces/{namespace}/events", name)


def revisions(namespace: str, name: str = "") -> str:
    """ControllerRevisions."""
    return _path(f"/apis/apps/v1/namespaces/{namespace}/controllerrevisions", name)


def leases(namespace: str, name: str = "") -> str:
    """Leases."""
    return _path(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases", name)


def _path(*parts: str) -> str:
    return "/".join(part for part in parts if part)
