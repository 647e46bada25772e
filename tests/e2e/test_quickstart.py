"""What a newcomer does in the first minutes: `make run`, curl, scale, and the lab's three calls."""

from __future__ import annotations

import json

import pytest
import requests
import stack as stacks


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with stacks.running(tmp_path_factory.mktemp("quickstart")) as running:
        yield running


def members(running, count):
    running.wait_active(count)
    return set(running.active())


def lab(running, method, path, body=None):
    return requests.request(method, running.url + path, json=body, timeout=70)


def test_curl_meets_three_different_servers(stack):
    assert len({stack.home(f"key-{n}") for n in range(60)}) == 3


def test_one_key_always_meets_the_same_server(stack):
    assert len({stack.home("the same") for _ in range(20)}) == 1


def test_get_shows_the_table_that_a_kubectl_user_expects(stack):
    lines = stack.cli("get", "serversets").stdout.splitlines()
    assert lines[0].split() == ["NAME", "DESIRED", "READY", "AVAILABLE", "IN-RING", "AGE"]
    assert lines[1].split()[:5] == ["web", "3", "3", "3", "3"]


def test_scale_up_and_down_is_followed_by_the_ring(stack):
    done = stack.cli("scale", "serverset/web", "--replicas=5")
    assert "serverset.ringmaster.dev/web scaled" in done.stdout
    assert members(stack, 5) == {f"web-{n}" for n in range(5)}
    stack.cli("scale", "serverset/web", "--replicas=3")
    assert members(stack, 3) <= {f"web-{n}" for n in range(5)}


def test_rep_lists_the_active_members_in_order_of_creation(stack):
    found = lab(stack, "GET", "/rep")
    held = [m["replica"] for m in stack.ring()["members"] if m["state"] == "active"]
    assert found.status_code == 200
    assert found.json() == {"message": {"N": 3, "replicas": held}, "status": "successful"}


def test_add_and_rm_take_the_names_asked_for(stack):
    added = lab(stack, "POST", "/add", {"n": 2, "hostnames": ["S5", "S4"]})
    assert added.status_code == 200, added.text
    assert added.json()["message"]["N"] == 5
    assert {"S5", "S4"} <= set(added.json()["message"]["replicas"])
    assert "S5" in {stack.home(f"key-{n}") for n in range(200)}
    removed = lab(stack, "DELETE", "/rm", {"n": 2, "hostnames": ["S5", "S4"]})
    assert removed.status_code == 200, removed.text
    assert removed.json()["message"]["N"] == 3
    assert not {"S5", "S4"} & set(removed.json()["message"]["replicas"])


def test_a_server_that_was_just_removed_does_not_come_back_for_another(stack):
    assert lab(stack, "POST", "/add", {"n": 1, "hostnames": ["S7"]}).status_code == 200
    assert lab(stack, "DELETE", "/rm", {"n": 1, "hostnames": ["S7"]}).status_code == 200
    other = lab(stack, "POST", "/add", {"n": 1, "hostnames": ["S8"]})
    assert other.status_code == 200, other.text
    assert "S8" in other.json()["message"]["replicas"]
    assert lab(stack, "DELETE", "/rm", {"n": 1, "hostnames": ["S8"]}).status_code == 200
    again = lab(stack, "POST", "/add", {"n": 1, "hostnames": ["S8"]})  # its own name, at once
    assert again.status_code == 200, again.text
    assert again.json()["message"]["N"] == 4
    assert "S8" in again.json()["message"]["replicas"]
    gone = lab(stack, "DELETE", "/rm", {"n": 1, "hostnames": ["S8"]})
    assert (gone.status_code, gone.json()["message"]["N"]) == (200, 3)


def settled(running):
    """The spec once the operator has taken out of it what earlier calls asked for by name."""

    def look():
        spec = running.serverset()["spec"]
        waiting = spec.get("names") or spec.get("scaleDown", {}).get("victims")
        return None if waiting else spec

    return stacks.eventually(look, what="a spec without names that wait")


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("POST", "/add", {"n": 1, "hostnames": ["A", "B"]},
         "<Error> Length of hostname list is more than newly added instances"),
        ("DELETE", "/rm", {"n": 1, "hostnames": ["A", "B"]},
         "<Error> Length of hostname list is more than removable instances"),
        ("POST", "/add", {"n": 0, "hostnames": []}, "<Error>"),
        ("POST", "/add", {"n": True, "hostnames": []}, "<Error>"),
        ("POST", "/add", {"n": "2", "hostnames": []}, "<Error>"),
        ("POST", "/add", {"n": 2, "hostnames": ["A", "A"]}, "<Error>"),
        ("POST", "/add", {"n": 1, "hostnames": ["has space"]}, "<Error>"),
        ("POST", "/add", {"n": 1000, "hostnames": []}, "<Error>"),
        ("POST", "/add", [], "<Error>"),
        ("DELETE", "/rm", {"n": 1, "hostnames": ["nobody"]}, "<Error>"),
        ("DELETE", "/rm", {"n": 4, "hostnames": []}, "<Error>"),
        ("GET", "/other", None, "<Error> '/other' endpoint does not exist in server replicas"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_the_assignments_form_and_changes_nothing(
    stack, method, path, body, says
):
    before = settled(stack)
    answer = lab(stack, method, path, body)
    assert answer.status_code == 400
    assert answer.json()["status"] == "failure"
    assert answer.json()["message"].startswith(says)
    assert stack.serverset()["spec"] == before


def test_what_is_no_json_is_refused_in_the_same_form(stack):
    answer = requests.post(stack.url + "/add", data=b"{not json", timeout=10)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("<Error>")


def test_explain_says_which_server_a_key_meets_and_why(stack):
    told = stack.cli("explain", "--key", "some key").stdout
    assert stack.home("some key") in told


def test_five_faults_of_a_spec_are_reported_at_once(stack, tmp_path):
    faulty = {
        "apiVersion": "ringmaster.dev/v1alpha1",
        "kind": "ServerSet",
        "metadata": {"name": "bad"},
        "spec": {
            "replicas": -1,
            "surprise": 1,
            "selector": {"matchLabels": {"app": "x"}},
            "minReadySeconds": "soon",
            "ring": {"scheme": "round"},
            "template": {"metadata": {"labels": {"app": "y"}}, "spec": {"containers": [
                {"name": "s", "image": "x", "command": ["true"]}]}},
        },
    }  # fmt: skip
    path = tmp_path / "bad.yaml"
    path.write_text(json.dumps(faulty))
    done = stack.cli("apply", "-f", str(path), check=False)
    assert done.returncode == 1
    for part in ("spec.replicas", "spec.surprise", "spec.minReadySeconds", "spec.ring.scheme"):
        assert part in done.stderr
    assert "spec.selector" in done.stderr or "spec.template.metadata.labels" in done.stderr


def test_a_server_that_does_not_exist_is_said_as_kubectl_says_it(stack):
    done = stack.cli("get", "serverset", "nothing", check=False)
    assert done.returncode == 1
    assert 'Error from server (NotFound): serversets.ringmaster.dev "nothing" not found' in (
        done.stderr
    )
