"""What the CLI's commands share: global options, connections, and what a failure is to a user.

Law: a failure is one line on standard error (each fault of a ServerSet its own) and exit code 1;
click itself judges usage, exit code 2.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from ringmaster_operator import client, errors, statedir
from ringmaster_operator.cli import endpoint, extensions, verbs


class Group(click.Group):
    """Turns what Ringmaster raises into a line on standard error and an exit code.

    Its commands are its own and those that other components bring (`extensions`).
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All by name."""
        return sorted({*super().list_commands(ctx), *extensions.names()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Its own first."""
        return super().get_command(ctx, cmd_name) or extensions.command(cmd_name)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run it all. What cannot be written, such as to a full disk, is a line as well."""
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
            sys.stdout.reconfigure(errors="backslashreplace")  # a terminal may not know our arrows
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            _write_no_more()
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"error: {where}{error.strerror or error}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except verbs.NothingFound as nothing:
            click.echo(nothing, err=True)
        except BrokenPipeError:
            _write_no_more()  # `ringmaster get | head`: nobody reads any more; that is no failure
        except KeyboardInterrupt:
            ctx.exit(130)
        except errors.RingmasterError as error:
            for line in _lines(error):
                click.echo(line, err=True)
            ctx.exit(1)
        return None


def _write_no_more() -> None:
    """What waits to be written would fail again at the very end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _lines(error: errors.RingmasterError) -> list[str]:
    match error:
        case client.ServerError(reason=reason):
            return [f"Error from server ({reason}): {errors.told(error)}"]
        case errors.SpecInvalidError(faults=faults):
            return ["error: the ServerSet is invalid:", *(f"* {fault}" for fault in faults)]
        case client.UnreachableError():
            return [str(error)]
        case _:
            return [f"error: {error}"]


class Context:
    """The global options."""

    def __init__(self, *, server: str | None, state: statedir.StateDir) -> None:
        self.server = server
        self.state = state
        self.authority: Path | None = None
        self.token_file: Path | None = None


pass_context = click.make_pass_decorator(Context)

_STATE_HELP = (
    "Where the state is kept.  [default: $RINGMASTER_STATE_DIR, else $XDG_STATE_HOME/ringmaster, "
    "else ~/.local/state/ringmaster]"
)


SERVER_HELP = (
    "The operator's API.  [default: $RINGMASTER_SERVER, else that of `up` on the state folder, "
    "else http://127.0.0.1:7070]"
)


def examples(*lines: str) -> str:
    """The end of a command's help; the mark keeps click from filling the lines."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def state_option(command: Any) -> Any:
    """`--state-dir`, which may stand before or after the command's name."""
    return click.option(
        "--state-dir", type=click.Path(file_okay=False, path_type=Path), help=_STATE_HELP
    )(command)


def namespace_option(command: Any) -> Any:
    """`-n`."""
    return click.option(
        "-n", "--namespace", default=None, metavar="NAME", help="The namespace.  [default: default]"
    )(command)


def server_option(command: Any) -> Any:
    """`--server`, after the command's name too."""

    def take(ctx: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        if value:
            ctx.ensure_object(Context).server = value

    return click.option(
        "-s", "--server", metavar="URL", expose_value=False, callback=take,
        help=SERVER_HELP,
    )(command)  # fmt: skip


def credential_options(command: Any) -> Any:
    """What a server beyond loopback asks for."""

    def take(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> None:
        setattr(ctx.ensure_object(Context), str(parameter.name), value)

    existing = click.Path(exists=True, dir_okay=False, path_type=Path)
    for words in (
        click.option(
            "--token-file", "token_file", type=existing, expose_value=False, callback=take,
            envvar="RINGMASTER_API_TOKEN_FILE",
            help="The bearer token for an https server.  [default: that of the operator that acts "
            "on the state folder]",
        ),
        click.option(
            "--certificate-authority", "authority", type=existing, expose_value=False,
            callback=take, envvar="RINGMASTER_CERTIFICATE_AUTHORITY", metavar="FILE",
            help="What to check an https server's certificate with.  [default: tls/ca.crt in the "
            "state folder, else the system's authorities]",
        ),
    ):  # fmt: skip
        command = words(command)
    return command


def connected(command: Any) -> Any:
    """What every command that asks the server has."""
    return server_option(credential_options(namespace_option(command)))


def state(context: Context, given: Path | None) -> statedir.StateDir:
    """The state folder of a command: its own option wins over the global one."""
    return statedir.StateDir(given.absolute()) if given else context.state


def chosen(words: Sequence[str], namespace: str | None, *, needed: bool = False) -> verbs.Selection:
    """What the words on the command line select."""
    return verbs.Selection(
        namespace=namespace or "default", names=verbs.names(words, needed=needed)
    )


@contextlib.contextmanager
def connection(context: Context) -> Iterator[client.Client]:
    """A client of the server that is meant."""
    server = client.Client(server_of(context), credentials_of(context))
    try:
        yield server
    finally:
        server.close()


def server_of(context: Context) -> str:
    """The server that is meant."""
    return context.server or endpoint.server_of(context.state)


def credentials_of(context: Context) -> client.Credentials:
    """What it asks for, if it asks."""
    return endpoint.credentials_of(
        context.state, authority=context.authority, token_file=context.token_file
    )
