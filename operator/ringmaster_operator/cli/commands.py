"""The CLI's commands on ServerSets: their words, options and examples.

Law: a command calls one function of `verbs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ringmaster_operator.cli import endpoint, kubeconfig, options, outputs, verbs


@click.command(
    "apply",
    epilog=options.examples(
        "ringmaster apply -f web.yaml",
        "cat web.yaml | ringmaster apply -f -",
        "ringmaster apply -f manifests/ --dry-run=server",
    ),
)
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    required=True,
    metavar="PATH",
    help="File, folder, or - for standard input; may be repeated.",
)
@click.option(
    "--dry-run",
    type=click.Choice(["none", "server"]),
    default="none",
    show_default=True,
    help="server: check it there, change nothing.",
)
@options.connected
@options.pass_context
def apply_command(
    context: options.Context, /, *, files: Sequence[str], namespace: str | None, dry_run: str
) -> None:
    """Create or change ServerSets as manifests say.

    Fields that the manifest does not name and never named stay as they are.
    """
    with options.connection(context) as server:
        verbs.apply(
            server,
            files,
            namespace=namespace,
            dry_run=dry_run == "server",
            say=click.echo,
            warn=lambda line: click.echo(line, err=True),
        )


@click.command(
    "get",
    epilog=options.examples(
        "ringmaster get",
        "ringmaster get serverset web -o yaml",
        "ringmaster get sset -A -l tier=front -w",
    ),
)
@click.argument("words", nargs=-1, metavar="[TYPE] [NAME]...")
@click.option("-A", "--all-namespaces", is_flag=True, help="Of every namespace.")
@click.option(
    "-l",
    "--selector",
    "labels",
    default="",
    metavar="LABELS",
    help="Only those with these labels, such as app=web,tier!=test.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "yaml", "json", "name"]),
    default="table",
    help="Another form.",
)
@click.option("-w", "--watch", is_flag=True, help="Go on showing changes until Ctrl-C.")
@options.connected
@options.pass_context
def get_command(
    context: options.Context,
    /,
    *,
    words: Sequence[str],
    namespace: str | None,
    all_namespaces: bool,
    labels: str,
    output: str,
    watch: bool,
) -> None:
    """Show ServerSets."""
    chosen = verbs.Selection(
        namespace=None if all_namespaces else namespace or "default",
        names=verbs.names(words),
        labels=labels,
    )
    if chosen.names and (all_namespaces or labels):
        raise click.UsageError("a name goes neither with --all-namespaces nor with --selector")
    if watch and len(chosen.names) > 1:
        raise click.UsageError("only one ServerSet, or all, can be watched")
    with options.connection(context) as server:
        (verbs.watch if watch else verbs.get)(server, chosen, output=output, say=click.echo)


@click.command(
    "describe",
    epilog=options.examples("ringmaster describe serverset/web", "ringmaster describe web"),
)
@click.argument("words", nargs=-1, metavar="[TYPE] [NAME]...")
@options.connected
@options.pass_context
def describe_command(
    context: options.Context, /, *, words: Sequence[str], namespace: str | None
) -> None:
    """Show everything about ServerSets: status, conditions, replicas, events."""
    with options.connection(context) as server:
        verbs.describe(server, options.chosen(words, namespace), say=click.echo)


@click.command(
    "scale",
    epilog=options.examples(
        "ringmaster scale serverset/web --replicas=5",
        "ringmaster scale web --current-replicas=5 --replicas=3",
    ),
)
@click.argument("words", nargs=-1, required=True, metavar="[TYPE] NAME...")
@click.option("--replicas", type=click.IntRange(min=0), required=True, help="How many shall serve.")
@click.option(
    "--current-replicas",
    "current",
    type=click.IntRange(min=0),
    help="Only if there are so many now.",
)
@options.connected
@options.pass_context
def scale_command(
    context: options.Context,
    /,
    *,
    words: Sequence[str],
    namespace: str | None,
    replicas: int,
    current: int | None,
) -> None:
    """Set how many replicas shall serve."""
    chosen = options.chosen(words, namespace, needed=True)
    with options.connection(context) as server:
        verbs.scale(server, chosen, replicas=replicas, current=current, say=click.echo)


@click.command(
    "delete",
    epilog=options.examples(
        "ringmaster delete serverset/web", "ringmaster delete -f web.yaml --no-wait"
    ),
)
@click.argument("words", nargs=-1, metavar="[TYPE] [NAME]...")
@click.option(
    "-f", "--filename", "files", multiple=True, metavar="PATH", help="Those that manifests name."
)
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Return when they are gone."
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=120,
    show_default=True,
    help="Seconds to wait.",
)
@options.connected
@options.pass_context
def delete_command(
    context: options.Context,
    /,
    *,
    words: Sequence[str],
    files: Sequence[str],
    namespace: str | None,
    wait: bool,
    timeout: float,
) -> None:
    """Delete ServerSets; their replicas are drained and stopped."""
    if bool(words) == bool(files):
        raise click.UsageError("give either names or -f")
    chosen = (
        [options.chosen(words, namespace, needed=True)] if words else _named_in(files, namespace)
    )
    with options.connection(context) as server:
        for each in chosen:
            verbs.delete(server, each, wait=timeout if wait else None, say=click.echo)


@click.command(
    "wait",
    epilog=options.examples(
        "ringmaster wait serverset/web --for=condition=Ready",
        "ringmaster wait web --for=delete --timeout=60",
    ),
)
@click.argument("words", nargs=-1, required=True, metavar="[TYPE] NAME...")
@click.option(
    "--for",
    "condition",
    required=True,
    metavar="CONDITION",
    help="condition=TYPE[=STATUS], or delete.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=30,
    show_default=True,
    help="Seconds to wait.",
)
@options.connected
@options.pass_context
def wait_command(
    context: options.Context,
    /,
    *,
    words: Sequence[str],
    namespace: str | None,
    condition: str,
    timeout: float,
) -> None:
    """Wait until ServerSets are in a condition."""
    chosen = options.chosen(words, namespace, needed=True)
    with options.connection(context) as server:
        verbs.wait_for(server, chosen, condition=condition, seconds=timeout, say=click.echo)


@click.command(
    "kubeconfig",
    epilog=options.examples(
        "ringmaster kubeconfig -o ringmaster.kubeconfig",
        "kubectl --kubeconfig ringmaster.kubeconfig get serversets",
        "ringmaster kubeconfig --server https://lb.example:7070 > config",
    ),
)
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it there, for its owner only.  [default: standard output]",
)
@options.state_option
@options.connected
@options.pass_context
def kubeconfig_command(
    context: options.Context, /, *, path: Path | None, state_dir: Path | None, namespace: str | None
) -> None:
    """Print a kubeconfig for the operator's API, with its authority and token if it has TLS."""
    context.state = options.state(context, state_dir)
    content = endpoint.kubeconfig(
        context.state,
        server=context.server,
        credentials=options.credentials_of(context),
        namespace=namespace or "default",
    )
    if path is None or outputs.is_standard_output(path):
        click.echo(content, nl=False)
    else:
        kubeconfig.write(path, content)


def _named_in(files: Sequence[str], namespace: str | None) -> list[verbs.Selection]:
    """What manifests name; they need not be right for that."""
    from ringmaster_operator.up import specfiles  # noqa: PLC0415 – the model takes long to load

    keys = [each.key() for each in specfiles.read(files, namespace=namespace)]
    return [verbs.Selection(namespace=key[0], names=(key[1],)) for key in keys]


COMMANDS = (
    apply_command,
    get_command,
    describe_command,
    scale_command,
    delete_command,
    wait_command,
    kubeconfig_command,
)
