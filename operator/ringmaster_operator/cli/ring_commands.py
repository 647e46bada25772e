"""The CLI's commands on a ring, which ask a balancer: explain, plan, picture.

Law: a command understands words and calls one function.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringmaster_operator import errors, printers
from ringmaster_operator.cli import options, outputs, ring_api, verbs

if TYPE_CHECKING:
    from ringmaster_operator.api import views

_FORMS: dict[str, Callable[[Any], str]] = {"yaml": printers.to_yaml, "json": printers.to_json}
_TAKES_DEFAULTS = (
    "Warning: the plan takes the defaults of what the file does not name (but for the number of "
    "replicas, which stays): "
)


def asking(command: Any) -> Any:
    """What every command that asks a balancer has."""
    for option in (
        click.option(
            "--token-file",
            type=click.Path(dir_okay=False, path_type=Path),
            help="The balancer's token.  [default: token in the state folder]",
        ),
        click.option(
            "--balancer-ca",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Who signed the certificate of a balancer at https://, PEM.  [default: the "
            "system's]",
        ),
        click.option(
            "--balancer",
            metavar="URL",
            help="The balancer's control address.  [default: that of `up`, else "
            "http://127.0.0.1:5001]",
        ),
        options.state_option,
        options.namespace_option,
    ):
        command = option(command)
    return command


def _form(command: Any) -> Any:
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["text", *_FORMS]),
        default="text",
        help="Another form.",
    )(command)


def _not_empty(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value:
        raise click.BadParameter("an empty key is none: a request without one gets a random key")
    return value


@click.command(
    "explain",
    epilog=options.examples(
        "ringmaster explain --key alice",
        "ringmaster explain serverset/web --key 42 --balancer http://127.0.0.1:5001",
    ),
)
@click.argument("words", nargs=-1, metavar="[TYPE] [NAME]")
@click.option(
    "--key",
    required=True,
    callback=_not_empty,
    help="The request's key, such as the value of its X-Request-Id.",
)
@_form
@asking
@options.pass_context
def explain_command(
    context: options.Context,
    /,
    *,
    words: Sequence[str],
    key: str,
    output: str,
    state_dir: Path | None,
    **where: Any,
) -> None:
    """Say which replica a key goes to, and why."""
    ring = ring_api.find(options.state(context, state_dir), names=verbs.names(words), **where)
    told = ring.explain(os.fsencode(key))  # as it was typed: a key is bytes, of whatever encoding
    click.echo(_FORMS.get(output, printers.explain)(told).rstrip("\n"))


@click.command(
    "plan",
    epilog=options.examples(
        "ringmaster plan -f changed.yaml",
        "ringmaster plan -f changed.yaml -o json | jq .moved",
    ),
)
@click.option(
    "-f",
    "--filename",
    "file",
    required=True,
    metavar="PATH",
    help="The ServerSet as it is to be; - for standard input.",
)
@_form
@options.server_option
@asking
@options.pass_context
def plan_command(
    context: options.Context,
    /,
    *,
    file: str,
    output: str,
    state_dir: Path | None,
    namespace: str | None,
    **where: Any,
) -> None:
    """Say what a change of members, scheme or hash would move, before it is made.

    Nothing is changed. A hash function of your own is tried, and refused with its numbers. The
    operator is asked for the ServerSet, since fields that the file does not name and never named
    stay as they are, and for its replicas, since who goes on a scale-down is its choice.
    """
    from ringmaster_operator.cli import preview  # noqa: PLC0415 – the model takes long to load
    from ringmaster_operator.up import specfiles  # noqa: PLC0415

    context.state = options.state(context, state_dir)
    found = specfiles.checked(specfiles.read([file], namespace=namespace))
    if len(found) != 1:
        raise errors.UsageError(f"{file} holds {len(found)} ServerSets: a plan is of one")
    document, key = found[0].document, found[0].key()
    ring = ring_api.find(context.state, namespace=key[0], names=key[1:], **where)
    held = ring.held()
    live, why_not = _live(context, key, holder=str(held.get("uid") or ""))
    change = preview.of(document, held, live=live)
    if change.guessed and live:
        change = preview.of(document, held, _seen(context, key), live=live)
    told = ring.plan(change.change)
    if live is None:
        click.echo(_TAKES_DEFAULTS + why_not, err=True)
    if output in _FORMS:
        click.echo(_FORMS[output](told).rstrip("\n"))
        return
    click.echo(preview.text(told, change).rstrip("\n"))


def _live(
    context: options.Context, key: tuple[str, str], *, holder: str
) -> tuple[dict[str, Any] | None, str]:
    """The ServerSet as the operator has it; None, and why, where there is none to be had.

    `holder` is the uid of the one whose ring the balancer holds: another's is none.
    """
    name = "/".join(key)
    try:
        with options.connection(context) as server:
            live = server.find(*key)
    except (errors.RingmasterError, ValueError) as error:
        return None, str(error)
    if live is None:
        return None, f"the operator's API has no ServerSet {name}"
    if holder not in {"", (live.get("metadata") or {}).get("uid", "")}:
        return None, f"the operator's API has another ServerSet {name} than the balancer"
    return live, ""


def _seen(context: options.Context, key: tuple[str, str]) -> list[views.ReplicaView]:
    """The replicas as the operator shows them; none where it cannot be asked."""
    from ringmaster_operator.api import views  # noqa: PLC0415

    with (
        contextlib.suppress(errors.RingmasterError, ValueError),
        options.connection(context) as server,
    ):
        return [views.parse(document) for document in server.replicas(*key)]
    return []


@click.command(
    "picture",
    epilog=options.examples(
        "ringmaster picture -o ring.svg", "ringmaster picture --part change -o moved.svg"
    ),
)
@click.argument("words", nargs=-1, metavar="[TYPE] [NAME]")
@click.option(
    "--part",
    type=click.Choice(["sheet", "ring", "shares", "change"]),
    default="sheet",
    show_default=True,
    help="All on one sheet, the ring, the shares, or what the last change moved.",
)
@click.option(
    "-o",
    "--output",
    "file",
    default="-",
    metavar="FILE",
    help="Where to.  [default: standard output]",
)
@asking
@options.pass_context
def picture_command(
    context: options.Context,
    /,
    *,
    words: Sequence[str],
    part: str,
    file: str,
    state_dir: Path | None,
    **where: Any,
) -> None:
    """Draw the ring as an SVG file: who has which slots, how much, and what has moved."""
    ring = ring_api.find(options.state(context, state_dir), names=verbs.names(words), **where)
    drawn = ring.picture(part)
    if not drawn:
        raise errors.UsageError(
            "the ring has not changed yet" if part == "change" else "the balancer holds no ring"
        )
    if file == "-" or outputs.is_standard_output(Path(file)):
        click.echo(drawn.encode())  # an SVG is UTF-8, whatever the terminal takes
        return
    outputs.write(Path(file), drawn + "\n")
    click.echo(f"{file}: {part} of {ring.namespace}/{ring.name}")


COMMANDS = (explain_command, plan_command, picture_command)
