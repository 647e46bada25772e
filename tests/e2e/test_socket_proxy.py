"""docs/socket-proxy.cfg: enough for the operator, and nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import engines
import hosted
import project_images
import pytest
import requests
import stack as stacks

pytestmark = pytest.mark.docker


@pytest.fixture
def proxy(tmp_path) -> Iterator[str]:
    """Its address; the documented configuration but for the port."""
    engines.require("docker")
    engines.require("haproxy")
    port = stacks.free_port()
    config = (stacks.ROOT / "docs" / "socket-proxy.cfg").read_text()
    assert "bind :2375" in config
    (tmp_path / "proxy.cfg").write_text(config.replace("bind :2375", f"bind 127.0.0.1:{port}"))
    with subprocess.Popen(["haproxy", "-db", "-f", str(tmp_path / "proxy.cfg")]) as process:
        try:
            yield f"127.0.0.1:{port}"
        finally:
            process.kill()


def test_through_it_replicas_come_are_probed_replaced_and_go(proxy, tmp_path):
    project_images.build()
    with hosted.place(tmp_path) as place:
        balancer = place.balancer()
        operator = place.operator("operator", engine=f"tcp://{proxy}")
        document = place.spec(replicas=2)
        (container,) = document["spec"]["template"]["spec"]["containers"]
        container["readinessProbe"] = {"exec": {"command": ["true"]}, "periodSeconds": 1}
        place.create(operator, document)
        before = balancer.wait_active(2)
        victim = before["web-0"]["replica"]
        hosted.containers.docker("kill", victim)
        stacks.eventually(
            lambda: (
                (now := balancer.active()).keys() == before.keys()
                and now["web-0"]["replica"] != victim
            ),
            what="a replacement",
        )
        requests.delete(f"{operator.api}{stacks.SETS}/web", timeout=10).raise_for_status()
        stacks.eventually(
            lambda: not hosted.listed(f"network={place.network}"), what="the end of all"
        )
        assert "403" not in operator.log


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/images/json"),
        ("GET", "/images/x/get"),
        ("GET", "/volumes"),
        ("GET", "/networks"),
        ("POST", "/v1.41/networks/create"),
        ("POST", "/volumes/create"),
        ("POST", "/build"),
        ("POST", "/containers/x/update"),
        ("POST", "/containers/x/attach"),
        ("PUT", "/containers/x/archive?path=/"),
        ("GET", "/containers/x/archive?path=/"),
        ("POST", "/swarm/init"),
        ("POST", "/containers/x/../../images/load"),
        ("DELETE", "/images/x"),
    ],
)
def test_whatever_the_operator_does_not_call_is_forbidden(proxy, method, path):
    def ask():
        return requests.request(method, f"http://{proxy}{path}", timeout=10).status_code

    assert stacks.eventually(ask, what="the proxy") == 403
