from __future__ import annotations

from pathlib import Path

import pytest
from ringmaster_operator import errors, statedir
from ringmaster_operator.runtimes import choice, process


@pytest.fixture
def state(tmp_path: Path) -> statedir.StateDir:
    made = statedir.StateDir(tmp_path / "state")
    made.prepare()
    return made


def test_a_folder_that_says_nothing_has_processes(state: statedir.StateDir) -> None:
    assert choice.recorded(state) == choice.Choice(kind="process")
    runtime = choice.opened(state, choice.recorded(state))
    try:
        assert isinstance(runtime, process.ProcessRuntime)
    finally:
        runtime.close()


def test_what_was_chosen_is_found_again(state: statedir.StateDir) -> None:
    chosen = choice.Choice(kind="docker", network="servers", project="ringmaster")
    choice.record(state, chosen)
    assert choice.recorded(state) == chosen


def test_another_network_is_another_choice_of_the_same_runtime(state: statedir.StateDir) -> None:
    choice.record(state, choice.Choice(kind="docker"))
    choice.check(state, choice.Choice(kind="docker", network="servers"), empty=False)


def test_nobody_changes_the_runtime_under_living_replicas(state: statedir.StateDir) -> None:
    with pytest.raises(errors.UsageError, match="run on the runtime process"):
        choice.check(state, choice.Choice(kind="docker"), empty=False)
    choice.check(state, choice.Choice(kind="docker"), empty=True)


def test_a_record_of_a_later_version_is_read_as_far_as_it_is_understood(
    state: statedir.StateDir,
) -> None:
    state.runtime_file.write_text('{"kind": "docker", "novelty": 1}')
    assert choice.recorded(state) == choice.Choice(kind="docker")
