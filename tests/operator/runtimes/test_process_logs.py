from __future__ import annotations

import os

from ringmaster_operator.runtimes import process_logs


def write(logs, key, data):
    with logs.open(key) as file:
        file.write(data)


def test_the_last_line_that_says_something_is_found_and_shortened(tmp_path):
    logs = process_logs.Logs(tmp_path)
    write(logs, "a", b"first\n" + b"x" * 9_000 + b"\nValueError: \xff no\n\n  \n")
    write(logs, "long", b"y" * 9_000)

    assert logs.last_line("a") == "ValueError: � no"
    assert logs.last_line("long") == "y" * 200
    assert logs.last_line("none") == ""


def test_opening_begins_anew(tmp_path):
    logs = process_logs.Logs(tmp_path)
    write(logs, "a", b"old\n")
    write(logs, "a", b"")

    assert logs.last_line("a") == ""


def test_a_folder_that_was_removed_is_made_again(tmp_path):
    logs = process_logs.Logs(tmp_path / "logs")
    (tmp_path / "logs").rmdir()
    write(logs, "a", b"said\n")

    assert logs.last_line("a") == "said"


def grown(logs, key):
    """A log beyond its bound, which ends in `END`."""
    file = logs.open(key)
    file.truncate(process_logs.MAX_BYTES + 1)
    file.write(b"END")
    return file


def test_a_log_that_grew_too_large_is_cut_while_it_is_written_to(tmp_path):
    logs = process_logs.Logs(tmp_path)
    with grown(logs, "a") as file:
        logs.bound()
        file.write(b"more\n")

    assert logs.path("a").read_bytes() == b"more\n"


def test_of_a_log_that_is_cut_no_more_than_its_end_is_kept_for_its_owner_alone(tmp_path):
    logs = process_logs.Logs(tmp_path)
    grown(logs, "a").close()
    logs.bound()
    older = tmp_path / "a.log.1"

    assert older.stat().st_size == process_logs.MAX_BYTES
    assert older.read_bytes().endswith(b"END")
    assert older.stat().st_mode & 0o777 == 0o600


def test_a_log_is_cut_though_there_is_no_room_for_its_copy(tmp_path):
    logs = process_logs.Logs(tmp_path)
    grown(logs, "a").close()
    (tmp_path / "a.log.1").symlink_to("/dev/full")
    grown(logs, "b").close()
    logs.bound()

    assert [logs.path(key).stat().st_size for key in "ab"] == [0, 0]


def test_only_the_newest_logs_of_the_dead_are_kept_and_all_of_the_living(tmp_path):
    logs = process_logs.Logs(tmp_path)
    for number in range(process_logs.KEPT + 5):
        write(logs, f"dead-{number}", b"x")
        os.utime(logs.path(f"dead-{number}"), (number, number))
    write(logs, "alive", b"x")
    os.utime(logs.path("alive"), (0, 0))
    logs.prune(live={"alive"})

    kept = {path.stem for path in tmp_path.glob("*.log")}
    assert kept == {"alive"} | {f"dead-{number}" for number in range(5, process_logs.KEPT + 5)}


def test_a_log_is_its_owners_alone(tmp_path):
    logs = process_logs.Logs(tmp_path / "logs")
    write(logs, "a", b"")

    assert logs.path("a").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
