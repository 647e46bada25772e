"""`make bench`: the balancer beside other proxies in one run, and the time to recover.

Only ratios of one run mean anything: the machine's own speed drops out. CPU time is that of the
proxy's whole process tree, read from the kernel; it hardly depends on what else the machine does.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import bars
import contest
import fairness
import idle
import peers
import proxies
import recovery
import results
import stalled

QUICK = ("small", "browser")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = [*(section.name for section in contest.SECTIONS), "fairness"]
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds (5)")
    parser.add_argument("--seconds", type=int, default=1, help="load per proxy and round (1)")
    parser.add_argument("--section", action="append", choices=names, help="only this (repeatable)")
    parser.add_argument("--proxy", action="append", choices=list(proxies.PROXIES), default=[],
                        help="only this and ourselves (repeatable)")  # fmt: skip
    parser.add_argument("--kills", type=int, default=5, help="replicas to kill (5; 0: none)")
    parser.add_argument("--quick", action="store_true", help="the least of it")
    parser.add_argument("--out", type=Path, help="write a page, the figures and a plot there")
    return parser.parse_args()


def main() -> None:
    """Everything, in a folder that is removed afterwards."""
    options = arguments()
    if options.quick:
        options.section, options.kills = options.section or list(QUICK), 0
        options.proxy = options.proxy or ["haproxy", "nginx"]
    run = results.Run(
        options=f"{options.rounds} alternating rounds of {options.seconds} s for each contestant",
        left_out=proxies.missing(),
    )
    for why in run.left_out.values():
        print(f"left out: {why}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="ringmaster-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker is another user
        if shutil.which("wrk") and shutil.which("nginx"):
            everything(run, options, folder)
        else:
            print("left out: load: wrk and nginx (as upstream) are needed", file=sys.stderr)
        if options.kills:
            run.recoveries = recovery.measure(folder, rounds=options.kills)
            print("\n" + recovery.report(run.recoveries))
    for bar in bars.judge(run):
        print(f"  {bar.verdict:7} {bar.what}: {bar.measured}, bar {bar.bar}")
    if options.out:
        results.write(run, options.out)
        sys.exit(beside_kubernetes(options.out))


def beside_kubernetes(out: Path) -> int:
    """A program of its own: on a cluster that was made for trials; 1 if a bar was missed."""
    if not _for_trials(context := _context()):
        said = f"the context {context!r} is not one for trials" if context else "no kubectl context"
        print(f"left out: Kubernetes: {said} (make bench-kubernetes uses any)", file=sys.stderr)
        return 0
    script = Path(__file__).with_name("kubernetes.py")
    command = [sys.executable, str(script), "--if-any", "--out", str(out)]
    return subprocess.run(command, check=False).returncode


def _context() -> str:
    if shutil.which("kubectl") is None:
        return ""
    command = ["kubectl", "config", "current-context"]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()


def _for_trials(context: str) -> bool:
    """What `make bench` installs on must not be somebody's cluster in use."""
    return context.startswith("kind-") or context == "ringmaster-test"


def everything(run: results.Run, options: argparse.Namespace, folder: Path) -> None:
    """Under load, then idle, then among stalled clients, then beside a greedy one."""
    chosen = {*options.proxy, "ringmaster"} if options.proxy else set(proxies.PROXIES)
    chosen -= set(run.left_out)
    whole = not options.section
    with peers.upstreams(folder / "upstreams", count=contest.MOST_MEMBERS) as ports:
        for section in contest.SECTIONS:
            if whole or section.name in options.section:
                run.results += compete(section, options, folder, ports, chosen)
                run.loads.append(os.getloadavg()[0])
        if whole:
            run.memory = [
                idle.measure(each, folder, ports)
                for each in idle.CONTESTANTS
                if each.proxy in chosen
            ]
            print(idle.table(run.memory))
            for each in {contest.RINGMASTER, contest.HAPROXY}:
                if each.proxy in chosen:
                    found = stalled.measure(each, folder, ports, rounds=options.rounds, seconds=2)
                    run.stalls[each.name] = found
                    print(stalled.table(each.name, found))
        if whole or "fairness" in options.section:
            those = [each for each in fairness.CONTESTANTS if each.proxy in chosen]
            run.fairness = fairness.measure(those, folder, ports, rounds=options.rounds)
            print("\nMedian of small requests, ms (MB/s of the load)")
            print(*fairness.table(run.fairness), sep="\n")


def compete(
    section: contest.Section,
    options: argparse.Namespace,
    folder: Path,
    ports: list[int],
    chosen: set[str],
) -> list[contest.Result]:
    """Start this section's contestants, measure them, stop them."""
    with contextlib.ExitStack() as stack:
        running = {
            each: stack.enter_context(each.start(folder, ports))
            for each in section.contestants
            if each.proxy in chosen
        }
        return contest.run(
            section, running, rounds=options.rounds, seconds=options.seconds, folder=folder
        )


if __name__ == "__main__":
    main()
