"""One measured run of wrk against one proxy."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import peers

# Ten fields as a browser sends them; made up, of ordinary length.
BROWSER_FIELDS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Browser/1.0 (a made-up one of common length)",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.8,de;q=0.5",
    "Accept-Encoding": "gzip, deflate, br",
    "Referer": "http://localhost/some/page?with=query",
    "Cookie": "session=0123456789abcdef0123456789abcdef; theme=dark; consent=1",
    "Cache-Control": "max-age=0",
    "Upgrade-Insecure-Requests": "1",
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of request. `connections` are kept alive unless `close`."""

    name: str
    path: str = "/home"
    method: str = "GET"
    body_bytes: int = 0
    fields: tuple[tuple[str, str], ...] = ()
    close: bool = False
    connections: int = 64
    unlike: bool = False  # another path and another cookie in each request


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("small"),
        Scenario("browser", fields=tuple(BROWSER_FIELDS.items())),
        Scenario("unlike", fields=tuple(BROWSER_FIELDS.items()), unlike=True),
        Scenario("10k", path="/10k"),
        Scenario("1m", path="/1m", connections=16),
        Scenario("post100k", path="/post", method="POST", body_bytes=102_400, connections=16),
        Scenario("close", close=True),
    )
}


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run showed. Latencies in milliseconds."""

    requests: int
    errors: int
    cpu_us: float
    rate: float
    p50: float
    p99: float
    p999: float


SCRIPT = """
local n = 0
local path = %PATH%
function setup(thread) thread:set("seed", math.random(1e9)) end
function request()
  n = n + 1
  wrk.headers["X-Request-Id"] = string.format("%x-%x", seed, n)
  %MORE%
  return wrk.format(%METHOD%, path)
end
function done(summary, latency, requests)
  io.write(string.format(
    '\\nJSON{"requests":%d,"seconds":%f,"errors":%d,"p50":%f,"p99":%f,"p999":%f}\\n',
    summary.requests, summary.duration / 1e6,
    summary.errors.connect + summary.errors.read + summary.errors.write
      + summary.errors.status + summary.errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    latency:percentile(99.9) / 1000))
end
"""

UNLIKE = """wrk.headers["Cookie"] = string.format("session=%x%x; theme=dark; consent=1", seed, n)
  path = string.format("/home?page=%d", n)"""


def script(scenario: Scenario) -> str:
    """The wrk script of a scenario: every request carries a key of its own."""
    fields = dict(scenario.fields) | ({"Connection": "close"} if scenario.close else {})
    lines = [f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}" for k, v in fields.items()]
    if scenario.body_bytes:
        lines.append(f"wrk.body = string.rep('x', {scenario.body_bytes})")
    more = UNLIKE if scenario.unlike else ""
    body = SCRIPT.replace("%METHOD%", json.dumps(scenario.method)).replace("%MORE%", more)
    return "\n".join([*lines, body.replace("%PATH%", json.dumps(scenario.path))])


def run(target: peers.Running, scenario: Scenario, *, seconds: int, folder: Path) -> Figures:
    """Load `target` for `seconds` and read its process tree's own CPU time before and after."""
    source = folder / f"{scenario.name}.lua"
    source.write_text(script(scenario))
    before = target.cpu_seconds()
    command = ["wrk", "-t1", f"-c{scenario.connections}", f"-d{seconds}s", "--timeout", "10s"]
    command += ["-s", str(source), f"http://127.0.0.1:{target.port}"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    spent = target.cpu_seconds() - before
    found = json.loads(output.rpartition("JSON")[2])
    return Figures(
        requests=found["requests"],
        errors=found["errors"],
        cpu_us=1e6 * spent / max(1, found["requests"]),
        rate=found["requests"] / found["seconds"],
        p50=found["p50"],
        p99=found["p99"],
        p999=found["p999"],
    )
