"""Where the balancers of a ServerSet are: found by pod label, each by its own address.

Law: not through EndpointSlices or a Service, which leave out those that are not ready: a balancer
gets ready by the first membership that it is told.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from typing import Any

from ringmaster_operator import announce, naming, observed, spec
from ringmaster_operator.kube import client, paths

CONTROL_PORT = 5001
_PORT_NAME = "control"


def finder(
    api: client.Api, urls: Sequence[str] = (), *, clock: Callable[[], float] = time.time
) -> announce.Find:
    """By the ServerSet's own URLs, else its selector, else `urls`.

    A balancer that is being deleted still has requests to spread, so it is told as well, until its
    grace is over: on a node that died its pod would be listed for ever.
    """
    listed = announce.listed(urls)

    def find(key: observed.Owner, config: spec.Balancer) -> announce.Found:
        if config.selector is None or config.urls:
            return listed(key, config)
        labels = naming.selector(config.selector.match_labels)
        answer = api.get(paths.pods(key.namespace), labelSelector=labels)
        now = clock()
        there = (pod for pod in answer["items"] if not _over(pod, now))
        urls = sorted(url for pod in there if (url := _url(pod)))
        return announce.Found(tuple(urls), sought=f"no pod with {labels} runs")

    return find


def _over(pod: dict[str, Any], now: float) -> bool:
    """Whether it should have ended: a deletionTimestamp is the end of the grace, not its start."""
    ends = pod["metadata"].get("deletionTimestamp")
    return bool(ends) and dt.datetime.fromisoformat(ends).timestamp() < now


def _url(pod: dict[str, Any]) -> str | None:
    """The control address of a balancer that has one."""
    status = pod.get("status") or {}
    ip = status.get("podIP")
    if not ip or status.get("phase") != "Running":
        return None
    host = f"[{ip}]" if ":" in ip else ip
    return f"http://{host}:{_port(pod)}"


def _port(pod: dict[str, Any]) -> int:
    ports = [port for each in pod["spec"]["containers"] for port in each.get("ports") or ()]
    named = (port["containerPort"] for port in ports if port.get("name") == _PORT_NAME)
    return int(next(named, CONTROL_PORT))
