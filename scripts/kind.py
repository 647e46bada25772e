"""A development cluster with Ringmaster on it: `kind.py up`, `kind.py down`. Both may be repeated."""

from __future__ import annotations

import argparse
import os
import socket

import deploy
import tools

_HOST_PORT = 30500  # as in kind-config.yaml


def up(name: str, *, image: str, tag: str) -> None:
    """Make the cluster unless it is there, load the images, install."""
    tools.say(f"kind cluster {name}:")
    if name in clusters():
        with tools.step("the cluster is there already"):
            _export(name)
    else:
        _port_is_free()
        with tools.step("creating the cluster (about a minute)"):
            flags = ["--image", image] if image else []
            tools.run(
                "kind", "create", "cluster", "--name", name, "--config", "kind-config.yaml",
                "--wait", "180s", *flags,
            )  # fmt: skip
    with tools.step("loading the images"):
        images = [f"ringmaster/{component}:{tag}" for component in tools.COMPONENTS]
        tools.run("kind", "load", "docker-image", "--name", name, *images)
    options = deploy.Options(tag=tag, image_ids=True)
    deploy.up(options)
    tools.say(_NEXT.format(port=_HOST_PORT, apply=deploy.example(options)))


_NEXT = """
Next:
  {apply}
  kubectl wait serverset/web --for=condition=Ready --timeout=60s
  curl http://localhost:{port}/home        (again and again: the server changes)
  kubectl scale serverset/web --replicas=5
  kubectl delete pod -l app=web --wait=false   (each is replaced)
  make kind-down
"""


def down(name: str) -> None:
    """Delete the cluster, its context, and kind's network if no other cluster uses it."""
    tools.say(f"kind cluster {name}:")
    with tools.step("deleting the cluster"):
        tools.run("kind", "delete", "cluster", "--name", name)
    network = os.environ.get("KIND_EXPERIMENTAL_DOCKER_NETWORK", "kind")
    if not clusters() and _unused(network):
        with tools.step(f"removing the network {network}"):
            tools.run("docker", "network", "rm", network)


def clusters() -> list[str]:
    """The names of the kind clusters of this engine."""
    return tools.run("kind", "get", "clusters").split()


def _export(name: str) -> None:
    """Make it kubectl's current context, as `create` does."""
    tools.run("kind", "export", "kubeconfig", "--name", name)


def _port_is_free() -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", _HOST_PORT))
        except OSError as error:
            raise tools.ScriptError(
                f"port {_HOST_PORT} of this machine is taken: stop what uses it, or change "
                "hostPort in kind-config.yaml"
            ) from error


def _unused(network: str) -> bool:
    if not tools.succeeds("docker", "network", "inspect", network):
        return False
    found = tools.run(
        "docker", "network", "inspect", "-f", "{{range $id, $_ := .Containers}}{{$id}} {{end}}",
        network,
    )  # fmt: skip
    return not found.split()


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["need", "up", "down"])
    parser.add_argument("--name", default="ringmaster")
    parser.add_argument("--image", default="", help="the node image (kind's own default)")
    parser.add_argument("--tag", default=tools.TAG)
    options = parser.parse_args()
    tools.need("docker", "kind", "kubectl")
    if options.action == "up":
        up(options.name, image=options.image, tag=options.tag)
    elif options.action == "down":
        down(options.name)


if __name__ == "__main__":
    tools.main(_main)
