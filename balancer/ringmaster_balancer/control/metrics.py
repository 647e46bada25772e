"""Plain counters as Prometheus text, made on a scrape and never on a request.

Law: edge; the only place that knows prometheus-client. Names, labels and HELP texts are the tables
below. Counters are sums over the workers, those that ended included, and start anew with the
control process. Who calls: `control`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import prometheus_client
from prometheus_client import core, registry

from ringmaster_balancer import members
from ringmaster_balancer.control import ordering


@dataclass(frozen=True, slots=True)
class Numbers:
    """Everything that a scrape tells. `stats` is the workers' sum, as `proxy` defines it."""

    held: ordering.Held | None
    healthy: Mapping[str, bool] = field(default_factory=dict)
    in_flight: Mapping[str, int] = field(default_factory=dict)
    stats: Mapping[str, Any] = field(default_factory=dict)
    workers: int = 0
    workers_expected: int = 0
    write_errors: int = 0


# Key in the workers' stats → name and HELP text.
_LEVELS = {
    "connections": ("connections", "Client connections that are open."),
    "waiting": ("waiting", "Requests that wait for a member's place."),
    "panic": (
        "panicking_workers",
        "Workers to which so many members are out that those that answer at all serve again.",
    ),
}
_COUNTERS = {
    "accepted": ("connections_accepted", "Client connections that were accepted."),
    "aborted": ("requests_aborted", "Requests whose client went away before the response ended."),
    "cut": ("responses_cut", "Responses that broke off after they had begun."),
    "requests": ("requests", "Requests whose head was sound, those of the lab API not counted."),
    "labRequests": ("lab_requests", "Requests for /rep, /add and /rm."),
    "retries": ("retries", "Requests that were tried again on another member or connection."),
    "refusedRetries": ("retries_refused", "Retries that the retry budget did not allow."),
    "renewals": (
        "renewals",
        "Requests sent again on a fresh connection because an idle one had been closed.",
    ),
    "waits": ("waits", "Requests that had to wait for a member's place."),
    "overflows": (
        "overflows",
        "Requests for which the queue was full, or that waited in it for too long.",
    ),
    "lostLines": ("access_log_lost_lines", "Lines of the access log that could not be written."),
    "lostLogLines": (
        "log_lost_lines",
        "Lines of the log of workers and control process that could not be written.",
    ),
}
# The same for each member.
_MEMBER_COUNTERS = {
    "failures": ("failures", "Connects, waits for a response, and responses that failed."),
    "retries": ("retries", "Requests that came here after another member or connection failed."),
    "connects": ("connects", "Connections that were opened to the member."),
    "bytesIn": ("response_bytes", "Bytes of responses received from the member."),
    "bytesOut": ("request_bytes", "Bytes of requests sent to the member."),
}


class _Collector(registry.Collector):
    """One scrape's values."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[core.Metric]:
        """Called by prometheus-client."""
        yield from _control(self._numbers)
        yield from _members(self._numbers)
        if self._numbers.stats:
            yield from _traffic(self._numbers.stats)
            yield from _member_traffic(_present(self._numbers))


def text(numbers: Numbers) -> tuple[bytes, str]:
    """The exposition and its content type."""
    scrape = prometheus_client.CollectorRegistry()
    scrape.register(_Collector(numbers))
    return prometheus_client.generate_latest(scrape), prometheus_client.CONTENT_TYPE_LATEST


def _control(numbers: Numbers) -> Iterator[core.Metric]:
    held = numbers.held
    epoch, generation = held.membership.version if held else (0, 0)
    gauges = {
        "epoch": ("Epoch of the membership that is held, 0 without one.", epoch),
        "generation": ("Generation of the membership that is held.", generation),
        "membership_pushed": (
            "1 if the membership was pushed in this life of the control process, else 0.",
            int(held is not None and held.source is ordering.Source.PUSH),
        ),
        "workers": ("Workers that are connected to the control process.", numbers.workers),
        "workers_expected": ("Workers that there should be.", numbers.workers_expected),
    }
    for name, (documentation, value) in gauges.items():
        yield core.GaugeMetricFamily(f"ringmaster_balancer_{name}", documentation, value=value)
    yield core.CounterMetricFamily(
        "ringmaster_balancer_disk_write_errors",
        "Memberships that could not be written to disk.",
        value=numbers.write_errors,
    )


def _members(numbers: Numbers) -> Iterator[core.Metric]:
    labels = ["member", "replica"]
    active = core.GaugeMetricFamily(
        "ringmaster_balancer_member_active",
        "1 if the operator says that this replica gets requests.",
        labels=labels,
    )
    healthy = core.GaugeMetricFamily(
        "ringmaster_balancer_member_healthy",
        "1 if active probes find this replica healthy.",
        labels=labels,
    )
    in_flight = core.GaugeMetricFamily(
        "ringmaster_balancer_member_in_flight",
        "Requests that this replica is working on.",
        labels=labels,
    )
    for member in numbers.held.membership.members if numbers.held else ():
        names = [member.id, member.replica]
        active.add_metric(names, int(member.state is members.State.ACTIVE))
        healthy.add_metric(names, int(numbers.healthy.get(member.replica, False)))
        in_flight.add_metric(names, numbers.in_flight.get(member.replica, 0))
    yield from (active, healthy, in_flight)


def _traffic(stats: Mapping[str, Any]) -> Iterator[core.Metric]:
    """What clients did and got."""
    for key, (name, documentation) in _LEVELS.items():
        yield core.GaugeMetricFamily(
            f"ringmaster_balancer_{name}", documentation, value=stats.get(key, 0)
        )
    for key, (name, documentation) in _COUNTERS.items():
        yield core.CounterMetricFamily(
            f"ringmaster_balancer_{name}", documentation, value=stats.get(key, 0)
        )
    own = core.CounterMetricFamily(
        "ringmaster_balancer_own_answers",
        "Answers that the balancer gave itself, by status code.",
        labels=["code"],
    )
    for code, count in sorted(stats.get("own", {}).items()):
        own.add_metric([code], count)
    yield own
    shortages = core.CounterMetricFamily(
        "ringmaster_balancer_shortages",
        "Connections and probes that the balancer lacked a resource for; no member is blamed.",
        labels=["resource"],
    )
    for resource, count in sorted(stats.get("shortages", {}).items()):
        shortages.add_metric([resource], count)
    yield shortages
    histogram = core.HistogramMetricFamily(
        "ringmaster_balancer_request_duration_seconds",
        "From a request's head to the end of its response, whoever answered.",
    )
    _add(histogram, [], stats.get("durations", {}))
    yield histogram


def _add(
    histogram: core.HistogramMetricFamily, labels: list[str], durations: Mapping[str, Any]
) -> None:
    """prometheus-client wants cumulative buckets, the workers count each by itself."""
    bounds = [*map(str, durations.get("bounds", ())), "+Inf"]
    sums = [*itertools.accumulate(durations.get("counts", ()))] or [0]
    histogram.add_metric(labels, list(zip(bounds, sums, strict=True)), durations.get("sum", 0.0))


def _present(numbers: Numbers) -> Iterator[Mapping[str, Any]]:
    """Those members that are held: workers that ended may have known others."""
    held = numbers.held.membership.members if numbers.held else ()
    known = {(member.id, member.replica, member.address) for member in held}
    for entry in numbers.stats.get("members", ()):
        if (entry["id"], entry["replica"], entry["address"]) in known:
            yield entry


def _member_traffic(entries: Iterable[Mapping[str, Any]]) -> Iterator[core.Metric]:
    """What members did, by (member id, replica); one that left takes its series with it."""
    labels = ["member", "replica"]
    responses = core.CounterMetricFamily(
        "ringmaster_balancer_member_responses",
        "Responses of the member, by status code.",
        labels=[*labels, "code"],
    )
    ejected = core.GaugeMetricFamily(
        "ringmaster_balancer_member_ejected",
        "1 while at least one worker passes the member over because requests failed on it.",
        labels=labels,
    )
    counters = {
        key: core.CounterMetricFamily(f"ringmaster_balancer_member_{name}", text_, labels=labels)
        for key, (name, text_) in _MEMBER_COUNTERS.items()
    }
    histogram = core.HistogramMetricFamily(
        "ringmaster_balancer_member_request_duration_seconds",
        "From a request's head to the end of the member's response, earlier tries included.",
        labels=labels,
    )
    for entry in entries:
        names = [entry["id"], entry["replica"]]
        _add(histogram, names, entry.get("durations", {}))
        for code, count in sorted(entry["codes"].items()):
            responses.add_metric([*names, code], count)
        ejected.add_metric(names, int(entry["ejected"]))
        for key, counter in counters.items():
            counter.add_metric(names, entry[key])
    yield from (responses, ejected, histogram, *counters.values())
