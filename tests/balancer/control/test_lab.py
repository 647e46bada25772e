"""/rep, /add and /rm in the assignment's form, whatever goes wrong."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from ringmaster_balancer import members
from ringmaster_balancer.control import lab


class Operator:
    """The operator's lab API on a free port; says `answer`, and nothing before `gate` is set."""

    def __init__(self):
        self.answer = (200, json.dumps({"message": {"N": 1}, "status": "successful"}))
        self.asked = []
        self.gate = threading.Event()
        self.gate.set()
        operator = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                token = self.headers["Authorization"]
                operator.asked.append((self.path, token, json.loads(raw)))
                operator.gate.wait(20)
                status, body = operator.answer
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self.thread.start()

    def close(self):
        self.gate.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def operator():
    made = Operator()
    yield made
    made.close()


def entry(name, state):
    return {"id": name, "replica": f"{name}-r", "address": "127.0.0.1:1", "state": state}


def app(url, held=True):
    names = [("web-2", "active"), ("web-0", "draining"), ("web-1", "active"), ("web-3", "absent")]
    document = {
        "epoch": 1,
        "generation": 1,
        "uid": "u",
        "replicas": 3,
        "members": [entry(name, state) for name, state in names],
    }
    config = lab.Config(namespace="default", name="web", operator_url=url, token="t")
    membership = members.parse(document) if held else None
    return lab.create_app(config, current=lambda: membership)


@pytest.fixture
def client(operator):
    return app(operator.url).test_client()


def failure(answer):
    assert answer.json["status"] == "failure"
    assert answer.json["message"].startswith("<Error> ")
    return answer.status_code


def test_rep_names_the_active_members_in_order_of_creation(client):
    assert client.get("/lab/rep").json == {
        "message": {"N": 2, "replicas": ["web-2-r", "web-1-r"]},
        "status": "successful",
    }


def test_rep_fails_before_the_first_membership():
    assert failure(app(None, held=False).test_client().get("/lab/rep")) == 503


@pytest.mark.parametrize(("method", "verb"), [("POST", "add"), ("POST", "rm"), ("DELETE", "rm")])
def test_a_change_is_the_operators_and_its_answer_is_passed_through(client, operator, method, verb):
    operator.answer = (400, '{"message": "<Error> no", "status": "failure"}')
    body = {"n": 2, "hostnames": ["S5", "ü"]}
    answer = client.open(f"/lab/{verb}", method=method, data=json.dumps(body))
    assert (answer.status_code, answer.json["message"]) == (400, "<Error> no")
    path = f"/lab/v1/namespaces/default/serversets/web/{verb}"
    assert operator.asked == [(path, "Bearer t", body)]


@pytest.mark.parametrize(
    ("code", "said", "told"),
    [
        (401, '{"kind": "Status", "status": "Failure", "message": "Unauthorized"}', "Unauthorized"),
        (500, '{"kind": "Status", "status": "Failure", "code": 500}', "500"),
        (200, "[]", "200"),
        (200, "<html>", "does not answer"),
    ],
)
def test_what_the_operator_says_in_another_form_reaches_the_student_in_the_labs(
    client, operator, code, said, told
):
    operator.answer = (code, said)
    answer = client.post("/lab/add", data=b'{"n": 1}')
    assert failure(answer) == 503
    assert told in answer.json["message"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"7", b"\xff", b"[" * 99_999,
     b'{"n": NaN}', b'{"n": -Infinity}', b'{"n": 1e999}', b'{"n": 1, "x": [NaN]}'],
)  # fmt: skip
def test_a_body_that_is_no_object_is_400_and_not_handed_on(client, operator, body):
    assert failure(client.post("/lab/add", data=body)) == 400
    assert operator.asked == []


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("PUT", "/lab/add", 405),
        ("DELETE", "/lab/add", 405),
        ("POST", "/lab/rep", 405),
        ("GET", "/lab/rm", 405),
        ("GET", "/v1/rings/default/web", 404),
    ],
)
def test_any_other_method_or_path_fails_in_the_same_form(client, method, path, code):
    assert failure(client.open(path, method=method, data=b"{}")) == code


@pytest.mark.parametrize("headers", [{"Origin": "http://evil"}, {"Sec-Fetch-Site": "cross-site"}])
def test_a_web_page_from_elsewhere_cannot_change_the_set(client, operator, headers):
    assert failure(client.post("/lab/add", data=b'{"n":1}', headers=headers)) == 403
    assert operator.asked == []


@pytest.mark.parametrize("answer", [(200, "hello"), (500, "[]"), (302, "{}")])
def test_an_operator_that_talks_nonsense_is_as_good_as_none(client, operator, answer):
    operator.answer = answer
    assert failure(client.post("/lab/add", data=b'{"n":1}')) == 503


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:1", "not a url"])
def test_without_an_operator_a_change_is_503(url):
    assert failure(app(url).test_client().post("/lab/add", data=b'{"n":1}')) == 503


def test_more_changes_than_there_are_places_are_told_so_at_once(operator):
    operator.gate.clear()
    made = app(operator.url)

    def ask():
        made.test_client().post("/lab/add", data=b'{"n":1}')

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    while len(operator.asked) < 6:
        threads[0].join(0.01)
    assert failure(made.test_client().post("/lab/add", data=b'{"n":1}')) == 503
    assert made.test_client().get("/lab/rep").status_code == 200
    operator.gate.set()
    for thread in threads:
        thread.join()
