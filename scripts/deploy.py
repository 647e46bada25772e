"""Install Ringmaster on a cluster, or remove it: `deploy.py up`, `deploy.py down`.

Talks to the cluster that kubectl talks to (KUBECONFIG, its current context). Both may be repeated.
The token is made here when there is none, goes to the cluster through standard input, and is
written nowhere else.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import dataclasses
import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tools

MANIFESTS = tools.ROOT / "manifests"
DEFINITION = "customresourcedefinition/serversets.ringmaster.dev"
SECRET = "ringmaster-token"  # noqa: S105 - its name
LEASE = "lease.coordination.k8s.io/ringmaster-operator"
# From this minor version on the manifests hold as they stand, but for one field that this very one
# does not know and drops; before it, the overlay.
_CURRENT = 25
_OLDEST = 20


@dataclass(frozen=True, slots=True)
class Options:
    """Where to, and what differs from the manifests. `node_port` 0: the cluster chooses one."""

    namespace: str = "default"
    images: str = ""
    tag: str = tools.TAG
    node_port: int | None = None
    image_ids: bool = False
    cluster_wide: bool = False
    seconds: int = 240


def up(options: Options) -> None:
    """Install, and wait until the operator acts."""
    tools.need("kubectl")
    version = server_version()
    overlay = overlay_for(version)
    tools.say(f"Ringmaster into namespace {options.namespace}, from {overlay} ({_context()}):")
    with tools.step("namespace and token"):
        _namespace(options.namespace)
        _token(options.namespace)
    with tools.step("manifests"), kustomization(options, [overlay]) as folder:
        unknown = ["--validate=warn"] if version == (1, _CURRENT) else []
        tools.run("kubectl", "apply", *unknown, "-k", str(folder))
        tools.run("kubectl", "wait", "--for=condition=Established", DEFINITION, "--timeout=60s")
    with tools.step("the operator is ready"):
        _rolled_out("ringmaster-operator", options)
    if _has_set(options.namespace):
        with tools.step("every balancer has its ring"):
            _rolled_out("ringmaster-balancer", options)
    else:
        with tools.step("the balancers run"):
            _running("ringmaster-balancer", options)


def down(options: Options) -> None:
    """Remove everything that `up` installed, and the namespace's ServerSets with their pods."""
    tools.need("kubectl")
    overlay = overlay_for(server_version())
    elsewhere = [ns for ns in _namespaces_with_sets() if ns != options.namespace]
    tools.say(f"Ringmaster out of namespace {options.namespace} ({_context()}):")
    if tools.succeeds("kubectl", "get", DEFINITION):
        with tools.step("ServerSets and their pods"):
            _delete(options, "serversets.ringmaster.dev", "--all")
            _wait_gone("ringmaster.dev/serverset", options, controlled_by="ServerSet")
    with tools.step("operator and balancers"):
        wide = _is_cluster_wide(options.namespace)
        _remove_installed(overlay, dataclasses.replace(options, cluster_wide=wide))
    with tools.step("token, and the operator's note of who acts"):
        _delete(options, f"secret/{SECRET}", LEASE)
    if elsewhere:
        tools.say(f"  the definition stays: {', '.join(elsewhere)} have ServerSets")
        return
    with tools.step("definition"):
        tools.run("kubectl", "delete", "--ignore-not-found", DEFINITION)


def overlay_for(version: tuple[int, int]) -> str:
    """The folder of manifests that this version takes."""
    if version < (1, _OLDEST):
        raise tools.ScriptError(
            f"Kubernetes {version[0]}.{version[1]} is too old: 1.{_OLDEST} is the oldest tried"
        )
    return "manifests" if version >= (1, _CURRENT) else "manifests/overlays/kube-1.20"


def server_version() -> tuple[int, int]:
    """The cluster's version.

    Raises:
        ScriptError: none answers.
    """
    try:
        told = json.loads(tools.run("kubectl", "get", "--raw", "/version", seconds=30))
    except tools.ScriptError as failure:
        raise tools.ScriptError(
            f"no cluster answers: `make kind-up` makes one, or let KUBECONFIG name yours\n{failure}"
        ) from failure
    # Providers write "27+".
    return int(told["major"]), int(told["minor"].rstrip("+"))


def _context() -> str:
    """Whose cluster it is, as the user knows it."""
    with contextlib.suppress(tools.ScriptError):
        return f"context {tools.run('kubectl', 'config', 'current-context').strip()}"
    return "the cluster we are in"


@contextlib.contextmanager
def kustomization(options: Options, resources: list[str]) -> Iterator[Path]:
    """A folder with a kustomization of these resources and what the options change in them."""
    with tempfile.TemporaryDirectory(prefix="ringmaster-deploy-") as name:
        folder = Path(name).resolve()
        document = _document(options, [_relative(each, folder) for each in resources])
        if options.cluster_wide:
            document["components"] = [_relative("manifests/components/cluster-wide", folder)]
        (folder / "kustomization.yaml").write_text(json.dumps(document, indent=1))
        yield folder


def _relative(resource: str, folder: Path) -> str:
    """Kustomize takes no absolute path."""
    return os.path.relpath(tools.ROOT / resource, folder)


def _document(options: Options, resources: list[str]) -> dict[str, Any]:
    return {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": options.namespace,
        "resources": resources,
        "images": [_image(component, options) for component in tools.COMPONENTS],
        "patches": [*_port_patch(options), *_id_patches(options)],
    }


def example(options: Options) -> str:
    """The command that applies the example with the image that was installed."""
    path = "manifests/serverset.yaml"
    apply = f"kubectl -n {options.namespace} apply -f"
    image = _image("server", options)
    if image == _image("server", Options()):
        return f"{apply} {path}"
    changed = f"{image['newName']}:{image['newTag']}"
    return f"sed 's#ringmaster/server:{tools.TAG}#{changed}#' {path} | {apply} -"


def _image(component: str, options: Options) -> dict[str, str]:
    prefix = f"{options.images.rstrip('/')}/" if options.images else "ringmaster/"
    return {
        "name": f"ringmaster/{component}",
        "newName": prefix + component,
        "newTag": options.tag,
    }


def _port_patch(options: Options) -> list[dict[str, Any]]:
    if options.node_port is None:
        return []
    path = "/spec/ports/0/nodePort"
    change = {"op": "replace", "path": path, "value": options.node_port}
    if not options.node_port:
        change = {"op": "remove", "path": path}
    return [{"target": _target("Service", "ringmaster-balancer"), "patch": json.dumps([change])}]


def _id_patches(options: Options) -> list[dict[str, Any]]:
    """An image built anew under the same tag is a new template: pods of it are replaced."""
    if not options.image_ids:
        return []
    patches = []
    for component in ("operator", "balancer"):
        found = tools.run(
            "docker", "image", "inspect", "-f", "{{.Id}}", f"ringmaster/{component}:{options.tag}"
        )
        change = {
            "op": "add",
            "path": "/spec/template/metadata/annotations",
            "value": {"ringmaster.dev/image-id": found.strip()},
        }
        target = _target("Deployment", f"ringmaster-{component}")
        patches.append({"target": target, "patch": json.dumps([change])})
    return patches


def _target(kind: str, name: str) -> dict[str, str]:
    return {"kind": kind, "name": name}


def _namespace(name: str) -> None:
    if not tools.succeeds("kubectl", "get", "namespace", name):
        tools.run("kubectl", "create", "namespace", name)


def _token(namespace: str) -> None:
    """Make the token unless there is one: a second `up` must not lock the balancers out."""
    if tools.succeeds("kubectl", "-n", namespace, "get", "secret", SECRET):
        return
    token = base64.b64encode(secrets.token_urlsafe(32).encode()).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": namespace, "labels": {"app": "ringmaster"}},
        "data": {"token": token},
    }
    tools.run("kubectl", "create", "-f", "-", given=json.dumps(document))


def _rolled_out(deployment: str, options: Options) -> None:
    try:
        tools.run(
            "kubectl", "-n", options.namespace, "rollout", "status", f"deployment/{deployment}",
            f"--timeout={options.seconds}s",
        )  # fmt: skip
    except tools.ScriptError as failure:
        raise tools.ScriptError(f"{failure}\n{_state(deployment, options)}") from failure


def _running(app: str, options: Options) -> None:
    """Until the containers run; they are not ready before there is a ring to serve."""
    deadline = time.monotonic() + options.seconds
    while time.monotonic() < deadline:
        pods = _pods(app, options)
        if pods and all(pod["status"].get("phase") == "Running" for pod in pods):
            return
        time.sleep(1)
    raise tools.ScriptError(f"{app} does not run\n{_state(app, options)}")


def _pods(app: str, options: Options) -> list[dict[str, Any]]:
    found = tools.run(
        "kubectl", "-n", options.namespace, "get", "pods", "-l", f"app={app}", "-o", "json"
    )
    return list(json.loads(found)["items"])


def _state(app: str, options: Options) -> str:
    """What a user would look at next."""
    where = ("kubectl", "-n", options.namespace)
    lines = [tools.run(*where, "get", "pods", "-l", f"app={app}", "-o", "wide")]
    for command in (
        (*where, "get", "events", "--field-selector", "type=Warning"),
        (*where, "logs", f"deployment/{app}", "--tail=15", "--all-containers"),
    ):
        with contextlib.suppress(tools.ScriptError):
            lines.append("\n".join(tools.run(*command, seconds=20).splitlines()[-15:]))
    return "\n".join(lines)


def _has_set(namespace: str) -> bool:
    return tools.succeeds("kubectl", "-n", namespace, "get", "serversets.ringmaster.dev", "web")


def _namespaces_with_sets() -> list[str]:
    if not tools.succeeds("kubectl", "get", DEFINITION):
        return []
    found = json.loads(tools.run("kubectl", "get", "serversets.ringmaster.dev", "-A", "-o", "json"))
    return sorted({item["metadata"]["namespace"] for item in found["items"]})


def _is_cluster_wide(namespace: str) -> bool:
    """Whether the operator of this namespace is the one for all."""
    binding = ("clusterrolebinding", "ringmaster-operator", "--ignore-not-found")
    return tools.run("kubectl", "get", *binding, "-o", "jsonpath={.subjects[0].namespace}") == (
        namespace
    )


def _delete(options: Options, *what: str) -> None:
    tools.run(
        "kubectl", "-n", options.namespace, "delete", "--ignore-not-found", *what,
        f"--timeout={options.seconds}s",
    )  # fmt: skip


def _remove_installed(overlay: str, options: Options) -> None:
    with kustomization(options, [overlay]) as folder:
        rendered = tools.run("kubectl", "kustomize", str(folder))
    # The definition has its own step: other namespaces may use it.
    parts = [part for part in rendered.split("\n---\n") if "\nkind: CustomRes" not in f"\n{part}"]
    tools.run(
        "kubectl", "delete", "--ignore-not-found", f"--timeout={options.seconds}s", "-f", "-",
        given="\n---\n".join(parts),
    )  # fmt: skip
    _wait_gone(
        "app in (ringmaster-operator, ringmaster-balancer)", options, controlled_by="ReplicaSet"
    )


def _wait_gone(selector: str, options: Options, *, controlled_by: str) -> None:
    """Until no pod of ours is left. One that was released keeps its labels and is the user's."""
    deadline = time.monotonic() + options.seconds
    where = ("kubectl", "-n", options.namespace, "get", "pods", "-l", selector, "-o", "json")
    while names := _controlled(json.loads(tools.run(*where))["items"], by=controlled_by):
        if time.monotonic() > deadline:
            raise tools.ScriptError(f"still there: {' '.join(names)}")
        time.sleep(0.5)


def _controlled(pods: list[dict[str, Any]], *, by: str) -> list[str]:
    return [
        pod["metadata"]["name"]
        for pod in pods
        if any(ref["kind"] == by for ref in pod["metadata"].get("ownerReferences", ()))
    ]


def arguments() -> tuple[str, Options]:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("action", choices=["up", "down"])
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--images", default="", help="where the images are, registry/path")
    parser.add_argument("--tag", default=tools.TAG)
    parser.add_argument("--node-port", type=int, help="0: the cluster chooses (default 30500)")
    parser.add_argument("--image-ids", action="store_true", help="the nodes use this engine's")
    parser.add_argument("--cluster-wide", action="store_true", help="for every namespace")
    parser.add_argument("--seconds", type=int, default=240, help="patience of each step")
    given = vars(parser.parse_args())
    return given.pop("action"), Options(**given)


def _main() -> None:
    action, options = arguments()
    {"up": up, "down": down}[action](options)
    if action == "up":
        tools.say(
            f"\nNext:\n  {example(options)}\n  kubectl -n {options.namespace} get serversets,pods\n"
        )


if __name__ == "__main__":
    tools.main(_main)
