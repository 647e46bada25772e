"""What a user names for an output, on a real file system."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ringmaster_operator import errors
from ringmaster_operator.cli import outputs


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    made = tmp_path / "pipe"
    os.mkfifo(made)
    return made


def read_from(pipe: Path, write) -> str:
    """What comes out of the pipe while `write` puts something in."""
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()), daemon=True)
    reader.start()
    write()
    reader.join(5)
    return "".join(found)


def test_a_file_is_written_whole_or_not_at_all(tmp_path) -> None:
    path = tmp_path / "ring.svg"
    outputs.write(path, "<svg/>")
    assert path.read_text() == "<svg/>"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(errors.UsageError, match="cannot be written"):
        outputs.write(tmp_path / "no" / "ring.svg", "")


def test_a_pipe_is_written_into_and_stays_one(pipe) -> None:
    assert read_from(pipe, lambda: outputs.write(pipe, "<svg/>")) == "<svg/>"
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert not list(pipe.parent.glob(".*"))


def test_a_link_is_followed_to_a_pipe_a_file_and_what_is_not_there_yet(pipe, tmp_path) -> None:
    link, target = tmp_path / "link", tmp_path / "elsewhere" / "ring.svg"
    link.symlink_to(pipe)
    assert read_from(pipe, lambda: outputs.write(link, "<svg/>")) == "<svg/>"
    link.unlink()
    target.parent.mkdir()
    link.symlink_to(target)
    for text in ("one", "two"):
        outputs.write(link, text)
        assert (link.is_symlink(), target.read_text()) == (True, text)


def test_links_in_a_circle_are_one_line(tmp_path) -> None:
    link = tmp_path / "link"
    link.symlink_to(link)
    with pytest.raises(errors.UsageError, match="Too many levels of symbolic links"):
        outputs.write(link, "<svg/>")
    assert link.is_symlink()


def test_a_folder_is_refused_and_no_draft_left(tmp_path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(errors.UsageError, match="folder cannot be written: Is a directory"):
        outputs.write(folder, "<svg/>")
    assert list(tmp_path.rglob("*")) == [folder]


def test_a_new_file_has_the_umasks_mode_and_an_old_one_keeps_its_own(tmp_path) -> None:
    path = tmp_path / "ring.svg"
    before = os.umask(0o027)
    try:
        outputs.write(path, "one")
        assert mode(path) == 0o640
        path.chmod(0o604)
        outputs.write(path, "two")
        assert mode(path) == 0o604
        outputs.write(path, "three", private=True)
        assert mode(path) == 0o600
    finally:
        assert os.umask(before) == 0o027


def test_standard_output_is_known_by_its_names(tmp_path) -> None:
    program = (
        "import sys; from pathlib import Path; from ringmaster_operator.cli import outputs;"
        "sys.stderr.write(''.join(str(int(outputs.is_standard_output(Path(each)))) "
        "for each in sys.argv[1:]))"
    )
    path = tmp_path / "out.svg"
    with path.open("ab") as out:
        done = subprocess.run(
            [sys.executable, "-c", program, "/dev/stdout", str(path), str(tmp_path), "no/where"],
            stdout=out, stderr=subprocess.PIPE, text=True, check=True, timeout=60,
        )  # fmt: skip
    assert done.stderr == "1100"
