"""Commands of the CLI that other components bring: entry points of the group `ringmaster.commands`.

Law: found by name in the installed distribution and imported only when asked for, so that no
component imports another; what they may know of us is in click's `meta`. One whose needs are not
installed says so, in one line.
"""

from __future__ import annotations

import importlib.metadata

import click

GROUP = "ringmaster.commands"
SERVER = "ringmaster.server"  # in `meta`: called, it tells the URL of the API that is meant


def names() -> list[str]:
    """What there is, without importing anything."""
    return [found.name for found in importlib.metadata.entry_points(group=GROUP)]


def command(name: str) -> click.Command | None:
    """The command of that name; None if nobody brings it."""
    for found in importlib.metadata.entry_points(group=GROUP, name=name):
        try:
            loaded = found.load()
        except ImportError as error:
            return _missing(name, str(error))
        if isinstance(loaded, click.Command):
            return loaded
    return None


def _missing(name: str, why: str) -> click.Command:
    """Stands for a command that cannot be imported, whatever its words are."""
    said = f"{name} is not installed here ({why}): pip install 'ringmaster[experiments]'"

    @click.command(
        name,
        short_help="(not installed)",
        add_help_option=False,
        context_settings={"ignore_unknown_options": True},
    )
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    def missing(words: tuple[str, ...]) -> None:  # noqa: ARG001 – taken, so that click does not judge them
        raise click.ClickException(said)

    return missing
