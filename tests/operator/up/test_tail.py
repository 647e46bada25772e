"""A log file that the test writes."""

from __future__ import annotations

from ringmaster_operator.runtimes import process_logs
from ringmaster_operator.up import tail


def test_only_what_is_new_is_shown_and_only_warnings_and_worse(tmp_path) -> None:
    path = tmp_path / "balancer.log"
    path.write_text("level=error event=old\n")
    subject = tail.Tail("balancer", path)
    with path.open("a") as log:
        log.write("level=info event=listening\nlevel=warning event=slow\nlevel=debug event=x\n")
        log.write("ringmaster-balancer: cannot listen\n\n")
    assert subject.lines() == [
        "balancer: level=warning event=slow",
        "balancer: ringmaster-balancer: cannot listen",
    ]
    assert subject.lines() == []


def test_everything_is_shown_when_asked_for(tmp_path) -> None:
    path = tmp_path / "log"
    subject = tail.Tail("operator", path)
    path.write_text("level=info event=applied\n")
    assert subject.lines(everything=True) == ["operator: level=info event=applied"]


def test_half_a_line_waits_for_its_end(tmp_path) -> None:
    path = tmp_path / "log"
    subject = tail.Tail("x", path)
    path.write_text("level=err")
    assert subject.lines() == []
    path.write_text("level=error event=whole\n")
    assert subject.lines() == ["x: level=error event=whole"]


def test_a_log_that_was_put_aside_is_followed_in_its_new_file(tmp_path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    subject = tail.Tail("x", path)
    path.replace(tmp_path / "log.1")
    path.write_text("anew\n")
    assert subject.lines() == ["x: anew"]


def test_a_log_that_was_cut_is_followed_from_its_new_beginning(tmp_path) -> None:
    path = tmp_path / "log"
    path.write_text("a long line of before\n")
    subject = tail.Tail("x", path)
    process_logs.cut(path, most=1)
    assert subject.lines() == []
    path.write_text("anew\n")
    assert subject.lines() == ["x: anew"]


def test_the_access_log_is_for_the_file_unless_everything_is_asked_for(tmp_path) -> None:
    path = tmp_path / "log"
    subject = tail.Tail("balancer", path)
    path.write_text('{"time":"now","status":200}\nlevel=warning event=slow\n')
    assert subject.lines() == ["balancer: level=warning event=slow"]
    path.write_text("")
    assert subject.lines(everything=True) == []
    path.write_text('{"status":200}\n')
    assert subject.lines(everything=True) == ['balancer: {"status":200}']


def test_a_log_that_is_not_there_yet_has_no_lines(tmp_path) -> None:
    assert tail.Tail("x", tmp_path / "none").lines() == []


def test_a_log_that_cannot_be_read_shows_nothing(tmp_path) -> None:
    path = tmp_path / "log"
    subject = tail.Tail("x", path)
    path.mkdir()
    assert subject.lines(everything=True) == []
