"""What `test_commands` does not reach: words, watches, and what is found in the state folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import local_api
import pytest
from ringmaster_operator import client, errors, statedir
from ringmaster_operator.cli import verbs


@pytest.fixture
def state(tmp_path: Path) -> statedir.StateDir:
    made = statedir.StateDir(tmp_path / "state")
    made.prepare()
    return made


@pytest.fixture
def server(tmp_path: Path) -> Iterator[local_api.Server]:
    with local_api.running(tmp_path) as running:
        yield running


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ([], ()),
        (["serversets"], ()),
        (["sset", "web", "api"], ("web", "api")),
        (["serverset.ringmaster.dev/web", "ServerSet/api"], ("web", "api")),
        (["web"], ("web",)),
        (["web", "web"], ("web",)),
        (["serverset", "serverset"], ("serverset",)),
    ],
)
def test_names_are_read_from_all_forms_that_kubectl_takes(words, names) -> None:
    assert verbs.names(words) == names


def test_a_needed_name_that_is_not_there_is_said() -> None:
    with pytest.raises(errors.UsageError, match="a name is needed"):
        verbs.names(["serverset"], needed=True)


class Enough(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize(
    ("output", "first", "later"),
    [("table", "NAME", "web    4"), ("name", "serverset.ringmaster.dev/web", "serverset.")],
)
def test_a_watch_shows_what_is_there_and_then_each_change(server, output, first, later) -> None:
    server.post(local_api.server_set())
    lines: list[str] = []
    begun = threading.Event()

    def say(line: str) -> None:
        lines.append(line)
        begun.set()
        if len(lines) >= (3 if output == "table" else 2):
            raise Enough

    def change() -> None:
        begun.wait(20)
        server.patch({"spec": {"replicas": 4}})

    changer = threading.Thread(target=change)
    changer.start()
    made = client.Client(server.url)
    with pytest.raises(Enough):
        verbs.watch(made, verbs.Selection(namespace="default"), output=output, say=say)
    made.close()
    changer.join()
    assert lines[0].startswith(first)
    assert lines[-1].startswith(later)


def test_a_watch_of_a_missing_one_is_an_error(server) -> None:
    made = client.Client(server.url)
    chosen = verbs.Selection(namespace="default", names=("x",))
    with pytest.raises(client.ServerError, match="not found"):
        verbs.watch(made, chosen, output="table", say=print)
    made.close()
