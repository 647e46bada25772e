"""The proxies that we are compared with, each set up for the same job.

The job: three or more upstreams, a consistent hash on `X-Request-Id`, keep-alive on both sides,
`X-Forwarded-For` added, each member's `/heartbeat` asked once a second (nginx cannot), one worker
unless told otherwise, no access log unless asked for. A peer that is not installed is left out, and
the report says so.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from peers import Running, child, free_port, nginx_config, ringmaster, serves, wait_for

Start = Callable[..., AbstractContextManager[Running]]


@contextlib.contextmanager
def haproxy(
    folder: Path, *, ports: list[int], workers: int, access_log: bool = False
) -> Iterator[Running]:
    """HAProxy, `balance hdr(X-Request-Id)`, consistent."""
    port = free_port()
    servers = "\n".join(
        f"  server s{index} 127.0.0.1:{upstream} check inter 1s"
        for index, upstream in enumerate(ports)
    )
    log = ("  log stdout format raw local0\n", "  log global\n  option httplog\n")
    config = folder / f"haproxy-{port}.cfg"
    # Each of 10,000 idle clients might need a second descriptor, and the limit is 20,000.
    config.write_text(f"""global
  nbthread {workers}
  maxconn 10100
  no strict-limits
{log[0] if access_log else ""}
defaults
  mode http
  timeout connect 1s
  timeout client 75s
  timeout server 30s
  option forwardfor
  option http-keep-alive
  http-reuse always
{log[1] if access_log else ""}
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
  balance hdr(X-Request-Id)
  hash-type consistent
  option httpchk GET /heartbeat
{servers}
""")
    with child(
        ["haproxy", "-db", "-f", str(config)], log=folder / f"haproxy-{port}.log"
    ) as process:
        wait_for(lambda: serves(port), what="haproxy")
        yield Running("haproxy", port, process.pid)


@contextlib.contextmanager
def nginx(folder: Path, *, ports: list[int], workers: int) -> Iterator[Running]:
    """nginx, `hash … consistent`, with an upstream keep-alive pool."""
    port = free_port()
    servers = " ".join(f"server 127.0.0.1:{upstream};" for upstream in ports)
    config = folder / f"nginx-{port}.conf"
    config.write_text(
        nginx_config(
            folder,
            name=f"proxy-{port}",
            workers=workers,
            http=f"""upstream u {{ hash $http_x_request_id consistent; {servers} keepalive 256;
              keepalive_requests 1000000000; }}
server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://u;
  proxy_http_version 1.1; proxy_set_header Connection "";
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }}
  location = /bulk {{ proxy_pass http://u; proxy_http_version 1.1; client_max_body_size 0;
  proxy_request_buffering off; proxy_max_temp_file_size 0; }} }}""",
        )
    )
    command = ["nginx", "-e", f"{folder}/proxy-error-{port}.log", "-c", str(config)]
    with child(command, log=folder / f"nginx-{port}.out") as process:
        wait_for(lambda: serves(port), what="nginx")
        yield Running("nginx", port, process.pid)


@contextlib.contextmanager
def envoy(folder: Path, *, ports: list[int], workers: int) -> Iterator[Running]:
    """Envoy, `RING_HASH` on the header; a client's request id is kept, as the others keep it."""
    port = free_port()
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network."
        "http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "codec_type": "HTTP1",
        "use_remote_address": True,
        "generate_request_id": False,
        "preserve_external_request_id": True,
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {
                "cluster": "u", "hash_policy": [{"header": {"header_name": "x-request-id"}}],
            }}],
        }]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
        }}],
    }  # fmt: skip
    document = {"static_resources": {
        "listeners": [{
            "name": "in", "address": _address(port), "tcp_backlog_size": 4096,
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
            }]}],
        }],
        "clusters": [{
            "name": "u", "type": "STATIC", "lb_policy": "RING_HASH", "connect_timeout": "1s",
            "circuit_breakers": {"thresholds": [
                {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000},
            ]},
            "health_checks": [{
                "timeout": "1s", "interval": "1s", "unhealthy_threshold": 2, "healthy_threshold": 1,
                "http_health_check": {"path": "/heartbeat"},
            }],
            "load_assignment": {"cluster_name": "u", "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": _address(upstream)}} for upstream in ports
            ]}]},
        }],
    }}  # fmt: skip
    config = folder / f"envoy-{port}.json"
    config.write_text(json.dumps(document))
    command = [str(Path(sys.executable).parent / "envoy"), "-c", str(config), "-l", "error"]
    command += ["--concurrency", str(workers), "--disable-hot-restart"]
    with child(command, log=folder / f"envoy-{port}.log") as process:
        wait_for(lambda: serves(port), what="envoy")
        yield Running("envoy", port, process.pid)


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@contextlib.contextmanager
def caddy(folder: Path, *, ports: list[int], workers: int) -> Iterator[Running]:
    """Caddy, `lb_policy header X-Request-Id` (rendezvous); as many Go threads as workers."""
    port = free_port()
    servers = " ".join(f"127.0.0.1:{upstream}" for upstream in ports)
    config = folder / f"Caddyfile-{port}"
    config.write_text(f"""{{
  admin off
  auto_https off
  persist_config off
  log {{
    level ERROR
  }}
}}
http://127.0.0.1:{port} {{
  reverse_proxy {servers} {{
    lb_policy header X-Request-Id
    health_uri /heartbeat
    health_interval 1s
    transport http {{
      keepalive_idle_conns_per_host 256
    }}
  }}
}}
""")
    command = ["env", f"GOMAXPROCS={workers}", f"HOME={folder}", f"XDG_DATA_HOME={folder}"]
    command += [str(Path(sys.executable).parent / "caddy"), "run", "--adapter", "caddyfile"]
    command += ["--config", str(config)]
    with child(command, log=folder / f"caddy-{port}.log") as process:
        wait_for(lambda: serves(port), what="caddy")
        yield Running("caddy", port, process.pid)


@contextlib.contextmanager
def flask(folder: Path, *, ports: list[int], workers: int) -> Iterator[Running]:  # noqa: ARG001 - it has one process
    """Flask's development server and one `requests.get` a request: how such a task is begun."""
    port = free_port()
    command = [sys.executable, str(Path(__file__).parent / "flask_proxy.py"), str(port)]
    command += map(str, ports)
    with child(command, log=folder / f"flask-{port}.log") as process:
        wait_for(lambda: serves(port), what="flask")
        yield Running("flask", port, process.pid)


PROXIES: dict[str, Start] = {
    "ringmaster": ringmaster,
    "haproxy": haproxy,
    "nginx": nginx,
    "envoy": envoy,
    "caddy": caddy,
    "flask": flask,
}


def missing() -> dict[str, str]:
    """What cannot be compared here, and why."""
    left_out = {
        name: f"{name} is not installed" for name in ("haproxy", "nginx") if not shutil.which(name)
    }
    for name in ("envoy", "caddy"):
        if not (Path(sys.executable).parent / name).exists():
            left_out[name] = f"{name} is not in this environment: pip install -e '.[bench]'"
    if importlib.util.find_spec("flask") is None:
        left_out["flask"] = "flask is not installed"
    return left_out
