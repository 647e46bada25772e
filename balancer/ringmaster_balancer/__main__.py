"""`ringmaster-balancer`: reads the command line and starts the supervisor."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import click

from ringmaster_balancer import __version__, errors, handover, logs, settings, supervisor

_RING = re.compile(
    r"([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)/([a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)"
)


def _default_state_dir() -> str:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return str(Path(base) / "ringmaster" / "balancer")


def _ring(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[str, str]:
    match = _RING.fullmatch(value)
    if match is None:
        raise click.BadParameter("must be NAMESPACE/NAME, as in default/web")
    return match[1], match[2]


_PORT = click.IntRange(0, 65_535)


@click.command(
    context_settings={
        "auto_envvar_prefix": "RINGMASTER",
        "help_option_names": ["-h", "--help"],
        "show_default": True,
        "max_content_width": 100,
    }
)
@click.version_option(__version__, prog_name="ringmaster-balancer")
@click.option(
    "--ring",
    required=True,
    callback=_ring,
    metavar="NAMESPACE/NAME",
    show_envvar=True,
    help="The ServerSet to serve; others are answered 404.",
)
@click.option("--host", default="0.0.0.0", show_envvar=True, help="Address for clients.")  # noqa: S104 – a balancer is there to be reached; the control port is not
@click.option("--port", default=5000, type=_PORT, show_envvar=True, help="Port for clients.")
@click.option(
    "--control-host",
    default="127.0.0.1",
    show_envvar=True,
    help="Address for the operator, health checks and metrics.",
)
@click.option(
    "--control-port",
    default=5001,
    type=_PORT,
    show_envvar=True,
    help="Port for the operator, health checks and metrics.",
)
@click.option(
    "--workers",
    default=1,
    type=click.IntRange(1, 256),
    show_envvar=True,
    help="Processes that serve clients.",
)
@click.option(
    "--token-file",
    required=True,
    metavar="FILE",
    show_envvar=True,
    help="The bearer token that /v1 on the control port demands.",
)
@click.option(
    "--state-dir",
    default=_default_state_dir,
    metavar="FOLDER",
    show_default="~/.local/state/ringmaster/balancer",
    show_envvar=True,
    help="Keeps the last good membership, to be served after a restart.",
)
@click.option(
    "--lab-api/--no-lab-api",
    default=False,
    show_envvar=True,
    help="Answer /rep, /add and /rm on the client port.",
)
@click.option(
    "--operator-url",
    metavar="URL",
    show_envvar=True,
    help="Where /add and /rm are handed on to, as in http://127.0.0.1:7070.",
)
@click.option(
    "--operator-token-file",
    metavar="FILE",
    show_default="the --token-file",
    show_envvar=True,
    help="The bearer token for the operator.",
)
@click.option(
    "--hash-path",
    metavar="FOLDER",
    show_envvar=True,
    help="Holds your own hash functions and schemes: ring.hash module:name is in module.py.",
)
@click.option(
    "--hash-module",
    multiple=True,
    metavar="MODULE",
    show_envvar=True,
    help="An installed module that ring.hash may name too; may be repeated.",
)
@click.option(
    "--drain-seconds",
    default=30.0,
    type=click.FloatRange(0, 3600),
    show_envvar=True,
    help="How long requests in flight may take after SIGTERM.",
)
@click.option(
    "--upgrade-seconds",
    default=30.0,
    type=click.FloatRange(0.1, 3600),
    show_envvar=True,
    help="How long new processes may take until they serve after SIGUSR2; else the old ones stay.",
)
@click.option(
    "--access-log",
    default="-",
    metavar="FILE",
    show_envvar=True,
    help="Where the access log goes, should the ServerSet want one; - is standard output.",
)
@click.option(
    "--tls-cert",
    metavar="FILE",
    show_envvar=True,
    help="Serve clients with TLS: the certificate and its chain, PEM. Read anew when it changes.",
)
@click.option("--tls-key", metavar="FILE", show_envvar=True, help="The certificate's key, PEM.")
@click.option(
    "--control-tls-cert",
    metavar="FILE",
    show_envvar=True,
    help="Serve the control port with TLS: the certificate and its chain, PEM.",
)
@click.option(
    "--control-tls-key", metavar="FILE", show_envvar=True, help="That certificate's key, PEM."
)
@click.option(
    "--check",
    is_flag=True,
    help="Only say whether options and files are good, by the exit code.",
)
def main(ring: tuple[str, str], *, check: bool, **options: object) -> None:
    """Spread HTTP requests over the replicas of one ServerSet with a consistent-hash ring.

    An operator pushes who is in the ring to the control port. SIGTERM and Ctrl-C stop accepting and
    let requests in flight finish; a second one ends at once. SIGUSR2 starts the program anew, as it
    is installed now, without losing a connection; the process id stays. Exit code 1: it cannot
    start.
    """
    logs.configure("supervisor")
    chosen = settings.Settings(namespace=ring[0], name=ring[1], **options)  # type: ignore[arg-type]  # click has checked them
    try:
        if check:
            supervisor.check(chosen)
        else:
            handover.hold_signals()  # until the supervisor has its handlers
            try:
                supervisor.supervise(chosen)
            finally:
                handover.hear_signals()
    except errors.BalancerError as error:
        click.echo(f"ringmaster-balancer: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
