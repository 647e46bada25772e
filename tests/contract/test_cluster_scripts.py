"""`make deploy` and its kin against scripted programs: what they ask for, and what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

# Notes its arguments and input; answers as a cluster that takes everything would.
KUBECTL = """#!{python}
import json, os, sys
words, given = sys.argv[1:], "" if sys.stdin.isatty() else sys.stdin.read()
if "kustomize" in words or "-k" in words:
    given = open(words[-1] + "/kustomization.yaml").read()
with open({log!r}, "a") as log:
    log.write(json.dumps([words, given]) + "\\n")
if "/version" in words:
    print(json.dumps({{"major": "1", "minor": {minor!r}}}))
elif "secret" in words and "get" in words:
    sys.exit(0 if {has_token} else 1)
elif "pods" in words and "json" in words:
    print(json.dumps({{"items": {pods}}}))
elif "-A" in words:
    print(json.dumps({{"items": []}}))
elif "serversets.ringmaster.dev" in words and "get" in words:
    sys.exit(1)
"""


# As one that was released: its labels stay, its owner does not.
RUNNING = {"metadata": {"name": "released"}, "status": {"phase": "Running"}}


class Tools:
    """A PATH with programs of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bin"
        self.path.mkdir()
        self.log = folder / "log"
        self.log.touch()

    def add(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)
        (self.path / name).chmod(0o755)

    def cluster(
        self, minor: str, *, has_token: bool = False, pods: Sequence[dict[str, Any]] = (RUNNING,)
    ) -> None:
        self.add(
            "kubectl",
            KUBECTL.format(
                python=sys.executable,
                log=str(self.log),
                minor=minor,
                has_token=has_token,
                pods=list(pods),
            ),
        )

    def run(self, script: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-B", str(ROOT / "scripts" / script), *words],
            check=False, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
            env={**os.environ, "PATH": str(self.path)},
        )  # fmt: skip

    def calls(self) -> list[tuple[list[str], str]]:
        return [tuple(json.loads(line)) for line in self.log.read_text().splitlines()]


@pytest.fixture
def tools(tmp_path):
    return Tools(tmp_path)


@pytest.mark.parametrize(
    ("there", "says"),
    [
        ([], "no 'docker' in PATH: https://"),
        (["docker"], "no 'kind' in PATH: https://"),
        (["docker", "kind"], "no 'kubectl' in PATH: https://"),
    ],
)
def test_a_missing_program_is_named_with_where_to_get_it(tools, there, says):
    for name in there:
        tools.add(name, "#!/bin/sh\nexit 0\n")
    done = tools.run("kind.py", "need")
    assert done.returncode == 1
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_engine_that_does_not_answer_is_said(tools):
    for name in ("docker", "kind", "kubectl"):
        tools.add(name, "#!/bin/sh\nexit 1\n")
    assert "no Docker Engine answers" in tools.run("kind.py", "need").stderr


def test_a_cluster_that_does_not_answer_is_said(tools):
    tools.add("kubectl", "#!/bin/sh\necho refused >&2\nexit 1\n")
    done = tools.run("deploy.py", "up")
    assert done.returncode == 1
    assert "no cluster answers: `make kind-up` makes one" in done.stderr


@pytest.mark.parametrize(
    ("minor", "overlay"),
    [("20", "manifests/overlays/kube-1.20"), ("24+", "manifests/overlays/kube-1.20"),
     ("25", "manifests"), ("33+", "manifests")],
)  # fmt: skip
def test_the_clusters_version_chooses_the_manifests(tools, minor, overlay):
    tools.cluster(minor)
    done = tools.run("deploy.py", "up")
    assert done.returncode == 0, done.stderr
    ((words, applied),) = [call for call in tools.calls() if call[0][0] == "apply"]
    assert json.loads(applied)["resources"][0].endswith(overlay)
    assert ("--validate=warn" in words) is (minor == "25")  # it knows all but one field
    assert "kubectl -n default apply -f manifests/serverset.yaml\n" in done.stdout


def test_a_cluster_that_is_too_old_is_refused(tools):
    tools.cluster("19")
    assert "1.19 is too old" in tools.run("deploy.py", "up").stderr


def test_the_token_is_made_once_and_stands_in_no_command_line(tools):
    tools.cluster("33")
    done = tools.run("deploy.py", "up")
    (made,) = [given for words, given in tools.calls() if words[0] == "create" and given]
    token = json.loads(made)["data"]["token"]
    assert len(token) > 40
    assert not any(token in word for words, _ in tools.calls() for word in words)
    assert token not in done.stdout


def test_a_token_that_is_there_stays(tools):
    tools.cluster("33", has_token=True)
    assert tools.run("deploy.py", "up").returncode == 0
    assert not [words for words, _ in tools.calls() if words[0] == "create"]


def test_namespace_images_and_port_are_the_users(tools):
    tools.cluster("33")
    flags = ("--namespace", "team", "--images", "reg.example/ours", "--tag", "7", "--node-port")
    done = tools.run("deploy.py", "up", *flags, "31000", "--cluster-wide")
    assert done.returncode == 0, done.stderr
    assert "sed 's#ringmaster/server:0.1.0#reg.example/ours/server:7#' manifests" in done.stdout
    assert "| kubectl -n team apply -f -\n" in done.stdout
    (applied,) = [given for words, given in tools.calls() if words[0] == "apply"]
    document = json.loads(applied)
    assert document["namespace"] == "team"
    assert document["images"][0] == {
        "name": "ringmaster/operator",
        "newName": "reg.example/ours/operator",
        "newTag": "7",
    }
    assert '"value": 31000' in document["patches"][0]["patch"]
    assert document["components"][0].endswith("manifests/components/cluster-wide")


@pytest.mark.parametrize(
    ("owners", "left"), [([], False), ([{"kind": "Job"}], False), ([{"kind": "ServerSet"}], True)]
)
def test_undeploy_waits_for_the_pods_of_server_sets_and_not_for_released_ones(tools, owners, left):
    pod = {"metadata": {"name": "web-0", "ownerReferences": owners}}
    tools.cluster("33", pods=[pod])
    done = tools.run("deploy.py", "down", "--seconds", "1")
    assert done.returncode == int(left)
    assert ("still there: web-0" in done.stderr) is left


def test_undeploy_leaves_the_definition_to_others(tools):
    tools.cluster("33")
    text = (tools.path / "kubectl").read_text()
    others = {"items": [{"metadata": {"namespace": "theirs"}}]}
    tools.add(
        "kubectl",
        text.replace(
            'elif "-A" in words:',
            f'elif "-A" in words:\n    print({json.dumps(json.dumps(others))})\nelif "-A" in words:',
        ),
    )
    done = tools.run("deploy.py", "down")
    assert done.returncode == 0, done.stderr
    assert "the definition stays: theirs have ServerSets" in done.stdout
    deleted = [" ".join(words) for words, _ in tools.calls() if "delete" in words]
    assert not any("customresourcedefinition" in words for words in deleted)
