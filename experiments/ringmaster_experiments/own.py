"""A Ringmaster of the experiment's own: started on free ports and a temporary folder, then stopped.

Law: edge. What was started here is stopped here, however the block is left. The parts of the
product are started by their commands; nothing of them is imported. Children are sessions of their
own, so that a Ctrl-C is ours to pass on.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ringmaster_experiments import errors, load, server, stacks

START_SECONDS = 90.0  # a cold start of everything on a busy machine
_STOP_SECONDS = 45.0  # it drains for up to ten
_POLL = 0.05
_LOG_TAIL = 2_000  # characters of a child's output in an error
_NAMESPACE, _NAME = "default", "web"

# Lenient, so that a busy machine does not pass for a broken server; recovery has the example's own.
LENIENT = {"periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 5}
STRICT = {"periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 2}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one of ours lives."""

    folder: Path
    port: int
    control_port: int
    api_port: int

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def spec(self) -> Path:
        return self.folder / "serverset.yaml"

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


@contextlib.contextmanager
def started(*, servers: int, probe: Mapping[str, int], runtime: str) -> Iterator[stacks.Stack]:
    """Operator, balancer and so many servers, all in the ring; afterwards nothing of it is left."""
    with tempfile.TemporaryDirectory(prefix="ringmaster-experiment-") as name:
        place = _Place(Path(name), *_free_ports(3))
        place.state.mkdir(mode=0o700)
        place.spec.write_text(json.dumps(_document(servers, probe)))
        api = server.Server(f"http://127.0.0.1:{place.api_port}", namespace=_NAMESPACE, name=_NAME)
        with contextlib.closing(api), _RUNTIMES[runtime](place, api) as children:
            _await_start(children, api, place)
            yield stacks.Stack(load.Target("127.0.0.1", place.port), api=api, runtime=runtime)


@contextlib.contextmanager
def _processes(place: _Place, _api: server.Server) -> Iterator[Sequence[subprocess.Popen[bytes]]]:
    """`ringmaster up`, which stops its servers when it is stopped."""
    words = ["ringmaster_operator.cli", "up", "-f", str(place.spec), "--state-dir"]
    words += [str(place.state), "--host", "127.0.0.1", "--port", str(place.port)]
    words += ["--control-port", str(place.control_port), "--api-port", str(place.api_port)]
    with _cleared(place), _child("up", words, place) as up:
        yield [up]


@contextlib.contextmanager
def _containers(place: _Place, api: server.Server) -> Iterator[Sequence[subprocess.Popen[bytes]]]:
    """An operator whose servers are containers, and a balancer, as processes beside them."""
    token = place.folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_urlsafe())
    shared = ["--token-file", str(token), "--state-dir"]
    balancer = ["ringmaster_balancer", "--ring", f"{_NAMESPACE}/{_NAME}", *shared]
    balancer += [str(place.state / "balancer"), "--host", "127.0.0.1", "--port", str(place.port)]
    balancer += ["--control-host", "127.0.0.1", "--control-port", str(place.control_port)]
    operator = ["ringmaster_operator", "--runtime", "docker", *shared, str(place.state)]
    operator += ["-f", str(place.spec), "--api-port", str(place.api_port)]
    operator += ["--balancer-url", f"http://127.0.0.1:{place.control_port}"]
    with (
        _cleared(place),
        _child("balancer", balancer, place) as first,
        _child("operator", operator, place) as second,
    ):
        try:
            yield [first, second]
        finally:  # the operator leaves its servers when it is stopped: they must go before
            with contextlib.suppress(errors.ExperimentError):
                api.delete()
                _await_end(api)


@contextlib.contextmanager
def _child(name: str, words: Sequence[str], place: _Place) -> Iterator[subprocess.Popen[bytes]]:
    """A module of the product, run until the block ends."""
    with place.log(name).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 – argv list, no shell
            [sys.executable, "-m", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=_STOP_SECONDS)
        finally:  # it hangs, or the user is in a hurry
            process.kill()
            process.wait()


@contextlib.contextmanager
def _cleared(place: _Place) -> Iterator[None]:
    """Whatever was not stopped in the ordinary way is ended by the state folder that names it."""
    try:
        yield
    except BaseException:
        down = [sys.executable, "-m", "ringmaster_operator.cli", "down", "--purge"]
        subprocess.run(  # noqa: S603 – argv list, no shell
            [*down, "--state-dir", str(place.state)], check=False, capture_output=True
        )
        raise


def _await_start(
    children: Sequence[subprocess.Popen[bytes]], api: server.Server, place: _Place
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while all(child.poll() is None for child in children) and time.monotonic() < deadline:
        with contextlib.suppress(errors.ExperimentError):
            if server.condition(api.get(), "Ready").get("status") == "True":
                return
        time.sleep(_POLL)
    logs = sorted(place.folder.glob("*.log"))
    said = "\n".join(log.read_text(errors="replace")[-_LOG_TAIL:].strip() for log in logs)
    raise errors.ExperimentError(f"Ringmaster did not get ready; it said:\n{said}")


def _await_end(api: server.Server) -> None:
    """Until the ServerSet is gone, and so its servers are."""
    deadline = time.monotonic() + _STOP_SECONDS
    while api.find() is not None and time.monotonic() < deadline:
        time.sleep(_POLL)


def _document(servers: int, probe: Mapping[str, int]) -> dict[str, Any]:
    """The ServerSet: the example server, as in manifests/serverset.yaml."""
    container = {
        "name": "server",
        "image": "ringmaster/server:0.1.0",
        "imagePullPolicy": "IfNotPresent",
        "command": ["ringmaster-server"],
        "ports": [{"name": "http", "containerPort": 5000}],
        "readinessProbe": {"httpGet": {"path": "/heartbeat", "port": "http"}, **probe},
    }
    labels = {"app": "web"}
    return {
        "apiVersion": "ringmaster.dev/v1alpha1",
        "kind": "ServerSet",
        "metadata": {"name": _NAME},
        "spec": {
            "replicas": servers,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            "balancer": {
                "selector": {"matchLabels": {"app": "ringmaster-balancer"}},
                "proxy": {"memberHeader": True},
            },
        },
    }


def _free_ports(count: int) -> list[int]:
    """Loopback ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


_RUNTIMES = {"process": _processes, "docker": _containers}
