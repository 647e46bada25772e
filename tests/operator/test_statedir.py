"""A state folder on a real file system."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from ringmaster_operator import errors, statedir


@pytest.fixture
def state(tmp_path: Path) -> statedir.StateDir:
    made = statedir.StateDir(tmp_path / "state")
    made.prepare()
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_place_is_the_users_word_then_xdgs_then_the_home_folder() -> None:
    own = {"RINGMASTER_STATE_DIR": "/a", "XDG_STATE_HOME": "/b"}
    assert statedir.default(own) == Path("/a")
    assert statedir.default({"XDG_STATE_HOME": "/b"}) == Path("/b/ringmaster")
    assert statedir.default({}) == Path.home() / ".local/state/ringmaster"


def test_the_token_is_made_once_and_is_its_owners_alone(state) -> None:
    token = state.token()
    assert len(token) >= 32
    assert state.token() == token
    assert (mode(state.token_file), mode(state.root)) == (0o600, 0o700)


def test_an_empty_token_file_is_said_and_not_used(state) -> None:
    state.token_file.write_text("\n")
    with pytest.raises(errors.UsageError, match="is empty"):
        state.token()


@pytest.mark.parametrize(
    "content",
    [
        b"root:x:0:0\ndaemon:x:1:1\n",
        b"one two",
        b"one\ttwo",
        b"one\r\ntwo",
        b"s\xc3\xa9cret",
        b"a\0b",
    ],
)
def test_a_file_of_something_else_is_not_taken_for_a_token(tmp_path, content) -> None:
    path = tmp_path / "passwd"
    path.write_bytes(content)
    with pytest.raises(errors.UsageError) as said:
        statedir.read_token(path)
    assert str(said.value) == f"the token file {path} holds more than a token"


def test_blanks_and_line_ends_around_a_token_are_none_of_it(tmp_path) -> None:
    (tmp_path / "token").write_bytes(b" s3cret-._~+/= \r\n\n")
    assert statedir.read_token(tmp_path / "token") == "s3cret-._~+/="


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.UsageError, match=r"cannot be written .*--state-dir") as caught:
        statedir.StateDir(tmp_path / "file" / "state").prepare()
    assert "\n" not in str(caught.value)


def test_a_lock_is_held_by_one_and_free_again_afterwards(state) -> None:
    with state.lock("up", busy="taken"):
        with pytest.raises(errors.UsageError, match="taken"), state.lock("up", busy="taken"):
            pass
        with state.lock("operator", busy="another lock"):
            pass
    with state.lock("up", busy="taken"):
        pass


def test_purge_deletes_ours_and_leaves_what_is_not(state) -> None:
    state.token()
    state.database.write_text("")
    state.runtime.mkdir()
    for file in (state.applied_file, state.ring_file, state.runtime_file):
        file.write_text("{}")
    with state.lock("up", busy=""):
        pass
    (state.root / "thesis.txt").write_text("the user's own")
    state.purge()
    assert [path.name for path in state.root.iterdir()] == ["thesis.txt"]


def test_purge_takes_an_empty_folder_along(state) -> None:
    state.token()
    state.purge()
    assert not state.root.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_damaged_record_reads_as_empty(state, text: str) -> None:
    state.run_file("up").write_text(text)
    assert statedir.read_json(state.run_file("up")) == {}


def test_writing_leaves_no_half_files(state) -> None:
    statedir.write_atomically(state.applied_file, "one")
    statedir.write_atomically(state.applied_file, "two")
    statedir.write_atomically(state.applied_file, "three", once=True)
    assert state.applied_file.read_text() == "two"
    assert not [path for path in state.root.iterdir() if path.name.startswith(".")]
