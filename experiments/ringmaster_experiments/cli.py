"""`ringmaster experiment`: the words of the commands. Found by the CLI as an entry point.

Law: needs nothing but click until a command runs, so that `ringmaster --help` can list it anywhere.
Exit codes: 0 all agrees, 1 something does not or failed, 2 usage.
"""

from __future__ import annotations

import contextlib
import functools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import click

_RINGS = ("hrw", "maglev", "ketama", "assignment", "modulo", "xxh64")
_EXAMPLES = """\b
Examples:
  ringmaster experiment distribution --simulate
  ringmaster experiment scaling --ring assignment
  ringmaster experiment recovery --url http://localhost:5000
  ringmaster experiment recovery --runtime kubernetes \\
      --url http://NODE:30500 --server http://127.0.0.1:8001
      on a cluster, beside `kubectl proxy`
  ringmaster experiment hashing --seed 7 --out /tmp/results"""


@click.group("experiment", epilog=_EXAMPLES)
def experiment() -> None:
    """The performance analysis: simulated, live, and whether the two agree.

    Each experiment computes from the ring's table what must happen, then does it: on a Ringmaster
    of its own (started and stopped here), or on a running one (--url), whose ServerSet is changed
    and put back. Results are CSV, JSON and PNG; the same seed gives the same results.
    """


def _shared(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that all experiments have."""
    options = (
        click.option("--seed", type=int, default=1, show_default=True, help="Of the requests."),
        click.option(
            "--out",
            type=click.Path(file_okay=False, path_type=Path),
            default=Path("experiment-results"),
            show_default=True,
            help="Folder for the results.",
        ),
        click.option("--simulate", is_flag=True, help="Only compute; send no request."),
        click.option(
            "--connections",
            type=click.IntRange(1, 10_000),
            default=64,
            show_default=True,
            help="Requests at a time.",
        ),
        click.option("--url", metavar="URL", help="The balancer of a running Ringmaster."),
        click.option(
            "--server",
            "api",
            metavar="URL",
            help="Its operator's API.  [default: $RINGMASTER_SERVER, else that of `up` on the state "
            "folder, else http://127.0.0.1:7070]",
        ),
        click.option(
            "--serverset",
            default="default/web",
            show_default=True,
            metavar="[NAMESPACE/]NAME",
            help="Its ServerSet: scaled, given other rings, and put back afterwards.",
        ),
        click.option(
            "--runtime",
            type=click.Choice(["process", "docker", "kubernetes"]),
            default="process",
            show_default=True,
            help="Where its replicas live; kubernetes goes with --url, and needs kubectl.",
        ),
    )
    return functools.reduce(lambda made, option: option(made), reversed(options), command)


def _requests(default: int, flag: str = "--requests") -> Callable[..., Any]:
    return click.option(
        flag, type=click.IntRange(1, 10_000_000), default=default, show_default=True,
        help="How many.",
    )  # fmt: skip


_ring = click.option(
    "--ring", type=click.Choice(_RINGS), default="hrw", show_default=True,
    help="assignment, modulo and xxh64: hashes of the key on the classic ring.",
)  # fmt: skip
_servers = click.option(
    "--servers", type=click.IntRange(1, 50), default=3, show_default=True, help="How many."
)


@experiment.command("distribution")
@_requests(30_000)
@_servers
@_ring
@_shared
def distribution(*, requests: int, servers: int, ring: str, **shared: Any) -> None:
    """1: requests per server, beside what theory gives."""
    with _loaded() as loaded:
        ran = loaded.commands.distribution(
            _settings(loaded, shared), ring=ring, requests=requests, servers=servers,
            say=click.echo,
        )  # fmt: skip
        _exit(loaded, ran.verdicts)


@experiment.command("scaling")
@_requests(10_000)
@_ring
@_shared
def scaling(*, requests: int, ring: str, **shared: Any) -> None:
    """2: mean load with its spread, for 2 to 6 servers."""
    with _loaded() as loaded:
        ran = loaded.commands.scaling(
            _settings(loaded, shared), ring=ring, requests=requests, say=click.echo
        )
        _exit(loaded, ran.verdicts)


@experiment.command("recovery")
@_requests(40_000)
@click.option(
    "--servers", type=click.IntRange(2, 50), default=3, show_default=True, help="How many."
)
@click.option(
    "--victim",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Which of them, counted from 0.",
)
@_ring
@_shared
def recover(*, requests: int, servers: int, victim: int, ring: str, **shared: Any) -> None:
    """3: kill -9 of a server in the middle of the load."""
    if victim >= servers:
        raise click.UsageError(f"there is no server {victim} of {servers}, counted from 0")
    with _loaded() as loaded:
        done = loaded.commands.recover(
            _settings(loaded, shared), ring=ring, requests=requests, servers=servers,
            victim=victim, say=click.echo,
        )  # fmt: skip
        _exit(loaded, done.verdicts)


@experiment.command("hashing")
@_requests(30_000)
@_requests(10_000, "--scaling-requests")
@_servers
@_shared
def hashing(*, requests: int, scaling_requests: int, servers: int, **shared: Any) -> None:
    """4: experiments 1 and 2 for other hash functions."""
    with _loaded() as loaded:
        ran = loaded.commands.hashing(
            _settings(loaded, shared), requests=requests, servers=servers,
            scaling_requests=scaling_requests, say=click.echo,
        )  # fmt: skip
        _exit(loaded, ran.verdicts)


@experiment.command("report", hidden=True)
@click.option("--page", "target", type=click.Path(dir_okay=False, path_type=Path), required=True)
@_shared
def write_report(*, target: Path, **shared: Any) -> None:
    """All four, and a page about them (`make experiments`)."""
    if shared["simulate"] or shared["url"]:
        raise click.UsageError("the report is about live runs on a Ringmaster of its own")
    with _loaded() as loaded:
        _exit(loaded, loaded.run(_settings(loaded, shared), target=target, say=click.echo))


@contextlib.contextmanager
def _loaded() -> Iterator[ModuleType]:
    """What the commands do (`report`, and through it `commands`); their failures as click's."""
    try:
        # Not before it is needed: numpy and matplotlib take half a second, and may be missing.
        from ringmaster_experiments import errors  # noqa: PLC0415 – see above
        from ringmaster_experiments import report as loaded  # noqa: PLC0415 – see above
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        raise click.ClickException(
            f"the experiments need {package}: pip install 'ringmaster[experiments]'"
        ) from error
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        yield loaded
    except errors.UsageError as error:
        raise click.UsageError(str(error)) from error
    except errors.ExperimentError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:  # a disk that filled up meanwhile
        raise click.ClickException(str(error)) from error


def _end(number: int, _frame: FrameType | None) -> None:
    """Leave as Ctrl-C does: what was started is stopped on the way out."""
    raise SystemExit(128 + number)


def _settings(loaded: ModuleType, shared: dict[str, Any]) -> Any:
    """The shared options as the commands want them."""
    api, url = shared.pop("api"), shared["url"]
    if api and not url:
        raise click.UsageError("--server goes with --url: without it, a Ringmaster is started")
    if shared["runtime"] == "kubernetes" and not url:
        raise click.UsageError("--runtime kubernetes goes with --url: no cluster is started here")
    if url and shared["simulate"]:
        raise click.UsageError("--simulate sends no request: it does not go with --url")
    meant = click.get_current_context().meta.get("ringmaster.server")  # by `ringmaster` itself
    api = api or (meant() if meant else "http://127.0.0.1:7070")
    return loaded.commands.Settings(api=api, **shared)


def _exit(loaded: ModuleType, verdicts: Any) -> None:
    raise SystemExit(0 if loaded.results.holds(verdicts) else 1)
