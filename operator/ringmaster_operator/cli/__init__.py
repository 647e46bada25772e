"""`ringmaster`: the table of its commands.

Law: a command understands words and calls one function; what a failure is to a user is decided
once, in `options`. A command loads what only it needs when it runs: the model, the planner and the
servers would cost each of the others half a second.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Any

import click

import ringmaster_operator
from ringmaster_operator import statedir
from ringmaster_operator.cli import commands, extensions, options, ring_commands


@click.group(
    cls=options.Group,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=options.examples(
        "ringmaster up -f manifests/serverset.yaml",
        "curl http://localhost:5000/home",
        "ringmaster get",
        "ringmaster scale serverset/web --replicas=5",
        'eval "$(_RINGMASTER_COMPLETE=bash_source ringmaster)"   completion for bash',
    ),
)
@click.version_option(ringmaster_operator.__version__, message="%(version)s")
@click.option(
    "-s",
    "--server",
    envvar="RINGMASTER_SERVER",
    metavar="URL",
    help=options.SERVER_HELP,
)
@options.state_option
@click.pass_context
def main(ctx: click.Context, server: str | None, state_dir: Path | None) -> None:
    """Keep N servers alive and spread requests over them with a consistent-hash ring."""
    root = state_dir or statedir.default(os.environ)
    ctx.obj = options.Context(server=server, state=statedir.StateDir(root.absolute()))
    ctx.meta[extensions.SERVER] = functools.partial(options.server_of, ctx.obj)


@main.command(
    "up",
    epilog=options.examples(
        "ringmaster up -f manifests/serverset.yaml", "ringmaster up -f web.yaml --port 8080 -v"
    ),
)
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    metavar="PATH",
    help="Spec file or folder; may be repeated. The first ServerSet is served.  "
    "[default: what the state folder has; the one served last]",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Where the balancer listens; 0.0.0.0 serves other machines too, /add and /rm included.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=5000,
    show_default=True,
    help="The balancer's port.",
)
@click.option(
    "--control-port",
    type=click.IntRange(1, 65535),
    default=5001,
    show_default=True,
    help="The balancer's control API and page, on loopback.",
)
@click.option(
    "--api-port",
    type=click.IntRange(1, 65535),
    default=7070,
    show_default=True,
    help="The operator's API, on loopback.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="The balancer's worker processes.  [default: its own choice]",
)
@click.option(
    "--lab-api/--no-lab-api", default=True, show_default=True, help="Serve /rep, /add and /rm."
)
@click.option(
    "--hash-path",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of hash functions of your own, for spec.ring.hash module:name.",
)
@click.option(
    "--runtime",
    type=click.Choice(["process", "docker"]),
    help="Where replicas live: here as processes, or as containers of the Docker Engine.  "
    "[default: where those of the state folder do, else process]",
)
@click.option(
    "--docker-network", metavar="NAME", help="Docker: the network of replicas.  [default: bridge]"
)
@click.option(
    "-v", "--verbose", is_flag=True, help="Show everything that operator and balancer log."
)
@options.state_option
@options.pass_context
def up_command(context: options.Context, /, *, state_dir: Path | None, **rest: Any) -> None:
    """Run operator and balancer here, in the foreground, until Ctrl-C.

    Replicas are local processes, or containers. Ctrl-C (or SIGTERM, or `ringmaster down`) drains and stops all;
    a second Ctrl-C does not wait. The ServerSets are kept: the next `up` brings them back. What
    dies is started again; exit code 1: operator or balancer say that they cannot start at all.
    """
    from ringmaster_operator import logs  # noqa: PLC0415 – only who needs it loads it
    from ringmaster_operator.up import foreground  # noqa: PLC0415 – as above

    settings = foreground.Settings(state=options.state(context, state_dir), **rest)
    # A terminal that is closed, stopped or slow must not keep `up` from tending to its children.
    sys.stdout = logs.detached(sys.stdout, note=lambda count: f"{count} lines are not shown\n")
    sys.stderr = logs.detached(sys.stderr, note=lambda count: f"{count} lines are not shown\n")
    raise SystemExit(foreground.run(settings, say=click.echo))


@main.command("down", epilog=options.examples("ringmaster down", "ringmaster down --purge"))
@click.option(
    "--purge",
    is_flag=True,
    help="Also delete what the state folder holds: ServerSets, token, logs.",
)
@options.state_option
@options.pass_context
def down_command(context: options.Context, /, *, state_dir: Path | None, purge: bool) -> None:
    """Stop everything that runs on the state folder, whether `up` still runs or not.

    The ServerSets are kept, so that the next `up` brings them back, unless --purge is given.
    """
    from ringmaster_operator.up import down  # noqa: PLC0415 – as above

    down.run(options.state(context, state_dir), purge=purge, say=click.echo)


@main.command("version")
def version_command() -> None:
    """Show the version."""
    click.echo(ringmaster_operator.__version__)


for command in (*commands.COMMANDS, *ring_commands.COMMANDS):
    main.add_command(command)
