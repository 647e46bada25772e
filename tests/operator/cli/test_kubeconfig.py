from __future__ import annotations

import base64
import os
import stat
import threading

import pytest
import yaml
from ringmaster_operator import errors
from ringmaster_operator.cli import kubeconfig


def test_it_has_what_kubectl_needs_to_trust_and_to_be_trusted() -> None:
    text = kubeconfig.text("https://lb:7070", namespace="n", authority="PEM", token="s3cret")
    document = yaml.safe_load(text)
    assert document["current-context"] == "ringmaster"
    (cluster,), (user,), (context,) = (document[k] for k in ("clusters", "users", "contexts"))
    assert cluster["cluster"]["server"] == "https://lb:7070"
    assert base64.b64decode(cluster["cluster"]["certificate-authority-data"]) == b"PEM"
    assert user["user"] == {"token": "s3cret"}
    assert context["context"] == {"cluster": "ringmaster", "user": "ringmaster", "namespace": "n"}


def test_plain_http_needs_neither() -> None:
    document = yaml.safe_load(
        kubeconfig.text("http://127.0.0.1:7070", namespace="default", authority=None, token=None)
    )
    assert document["clusters"][0]["cluster"] == {"server": "http://127.0.0.1:7070"}
    assert document["users"][0]["user"] == {}


def test_the_file_is_its_owners_and_may_be_written_again(tmp_path) -> None:
    path = tmp_path / "config"
    text = kubeconfig.text("http://a", namespace="default", authority=None, token=None)
    for _ in range(2):
        kubeconfig.write(path, text)
    assert path.read_text() == text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_of_somebody_elses_stays(tmp_path) -> None:
    path = tmp_path / "config"
    path.write_text("apiVersion: v1\n")
    with pytest.raises(errors.UsageError, match="not of our making"):
        kubeconfig.write(path, "text")
    assert path.read_text() == "apiVersion: v1\n"


def test_a_place_that_cannot_be_written_is_said(tmp_path) -> None:
    with pytest.raises(errors.UsageError, match="cannot be written"):
        kubeconfig.write(tmp_path / "no" / "config", "text")


def test_a_link_to_a_file_of_ours_is_followed_and_one_to_anothers_stays(tmp_path) -> None:
    link, target = tmp_path / "link", tmp_path / "config"
    link.symlink_to(target)
    text = kubeconfig.text("http://a", namespace="default", authority=None, token=None)
    for _ in range(2):
        kubeconfig.write(link, text)
    assert (link.is_symlink(), target.read_text()) == (True, text)
    target.write_text("apiVersion: v1\n")
    with pytest.raises(errors.UsageError, match="not of our making"):
        kubeconfig.write(link, text)


def test_a_pipe_is_written_into_and_not_read_for_whose_it_is(tmp_path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()), daemon=True)
    reader.start()
    kubeconfig.write(pipe, "text")
    reader.join(5)
    assert (found, stat.S_ISFIFO(pipe.lstat().st_mode)) == (["text"], True)
