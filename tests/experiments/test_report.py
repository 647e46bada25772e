"""All four experiments and their page; live it is `make experiments`."""

from __future__ import annotations

import re

from ringmaster_experiments import commands, report, results


def test_the_page_is_written_and_every_picture_on_it_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")  # no Docker here
    said = []
    settings = commands.Settings(out=tmp_path / "docs" / "performance", simulate=True)
    (settings.out / "docker").mkdir(parents=True)
    (settings.out / "docker" / "distribution.json").write_text("of an earlier run")
    target = tmp_path / "docs" / "analysis.md"
    verdicts = report.run(settings, target=target, say=said.append)
    assert results.holds(verdicts)
    assert "not on Docker: there is no docker in PATH (`make images` builds the image)" in said
    links = re.findall(r"!\[[^]]+\]\(([^)]+)\)", target.read_text())
    assert not (settings.out / "docker").exists()
    assert len(links) == 6
    assert all((target.parent / link).is_file() for link in links)


def test_the_machine_is_described_without_its_name():
    import platform

    assert platform.node() not in report._machine()
    assert "cores" in report._machine()
