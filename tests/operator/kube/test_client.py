"""Calls to an API server: what becomes of each answer, and of none."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from kubernetes import client as library
from kubernetes import config
from ringmaster_operator import errors
from ringmaster_operator.kube import client


class Server(ThreadingHTTPServer):
    """Answers with what is in `answers`, in turn; `hang up` closes the connection instead."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = []
        self.asked = []
        self.gate = threading.Event()

    def handle_error(self, *_args):
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.title(): value for name, value in self.headers.items()}
        self.server.asked.append((self.command, self.path, headers, body))
        answer = self.server.answers.pop(0) if self.server.answers else (200, {})
        if answer == "hang up":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        if answer == "silence":
            self.server.gate.wait(10)
            return
        status, document = answer
        payload = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 – http.server's names

    def log_message(self, *_args):
        pass


def opened(port, *, refresh=None):
    configuration = library.Configuration()
    configuration.host = f"http://127.0.0.1:{port}"
    configuration.retries = False
    configuration.api_key["BearerToken"] = "Bearer secret"
    configuration.refresh_api_key_hook = refresh
    return client.Api(configuration, client.Settings(connect_seconds=1, read_seconds=0.5))


@pytest.fixture
def server():
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.gate.set()
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def api(server):
    with contextlib.closing(opened(server.server_port)) as made:
        yield made


def failed(reason, message="it says no"):
    return {"kind": "Status", "reason": reason, "message": message}


def test_documents_go_there_and_back_as_they_are(server, api):
    server.answers = [(201, {"kind": "Pod", "spec": {"empty": "", "none": None}})]
    answer = api.create("/pods", {"a": "", "b": None, "c": {"d": [0, False]}})
    method, path, headers, body = server.asked[0]
    assert (method, path) == ("POST", "/pods")
    assert json.loads(body) == {"a": "", "b": None, "c": {"d": [0, False]}}
    assert headers["Authorization"] == "Bearer secret"
    assert answer == {"kind": "Pod", "spec": {"empty": "", "none": None}}


def test_selectors_are_quoted(server, api):
    api.get("/pods", labelSelector="a=b,c!=d")
    assert server.asked[0][1] == "/pods?labelSelector=a%3Db%2Cc%21%3Dd"


def test_a_patch_says_what_kind_it_is(server, api):
    api.patch("/pods/a", {"x": 1})
    api.patch("/pods/a", {"x": 1}, kind=client.STRATEGIC)
    kinds = [headers["Content-Type"] for _, _, headers, _ in server.asked]
    assert kinds == ["application/merge-patch+json", "application/strategic-merge-patch+json"]


def test_a_deletion_names_the_instance_and_its_grace(server, api):
    api.delete("/pods/a", uid="u1", grace_seconds=7)
    options = json.loads(server.asked[0][3])
    assert options["preconditions"] == {"uid": "u1"}
    assert options["gracePeriodSeconds"] == 7


ANSWERS = [
    (404, "NotFound", errors.NotFoundError),
    (409, "AlreadyExists", errors.AlreadyExistsError),
    (409, "Conflict", errors.ConflictError),
    (400, "BadRequest", errors.RefusedError),
    (403, "Forbidden", errors.RefusedError),
    (422, "Invalid", errors.RefusedError),
    (401, "Unauthorized", errors.RetryLater),
    (429, "TooManyRequests", errors.RetryLater),
    (500, "InternalError", errors.AmbiguousError),
    (503, "ServiceUnavailable", errors.AmbiguousError),
    (504, "Timeout", errors.AmbiguousError),
]


@pytest.mark.parametrize(("status", "reason", "kind"), ANSWERS)
def test_each_refusal_of_a_create_is_what_its_caller_does_next(server, api, status, reason, kind):
    server.answers = [(status, failed(reason))]
    with pytest.raises(kind, match="it says no") as caught:
        api.create("/pods", {})
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("status", "message", "word"),
    [
        (403, 'pods "x" is forbidden: exceeded quota: few, requested: pods=1', "QuotaExceeded"),
        (403, "not for you", "Forbidden"),
        (422, "spec.containers is wrong", "Invalid"),
    ],
)
def test_a_refusal_has_a_word_for_a_condition(server, api, status, message, word):
    reasons = {403: "Forbidden", 422: "Invalid"}
    server.answers = [(status, failed(reasons[status], message))]
    with pytest.raises(errors.RefusedError) as caught:
        api.create("/pods", {})
    assert caught.value.reason == word


def test_a_path_that_an_api_server_does_not_know_yet_is_no_object_that_is_gone(server, api):
    server.answers = [(404, b"404 page not found")]
    with pytest.raises(errors.RetryLater, match="404 page not found"):
        api.get("/apis/ringmaster.dev/v1alpha1/namespaces/shop/serversets/web")


@pytest.mark.parametrize("status", [403, 422])
def test_what_is_refused_elsewhere_is_tried_again(server, api, status):
    server.answers = [(status, failed("Forbidden"))] * 2
    with pytest.raises(errors.RetryLater):
        api.get("/pods")
    with pytest.raises(errors.RetryLater):
        api.patch("/pods/a", {})


def test_an_answer_that_is_no_json_is_an_error_like_any(server, api):
    server.answers = [(502, b"<html>bad gateway</html>")]
    with pytest.raises(errors.AmbiguousError, match="bad gateway"):
        api.create("/pods", {})


def test_a_read_whose_connection_breaks_is_repeated_once(server, api):
    server.answers = ["hang up", (200, {"kind": "Pod"})]
    assert api.get("/pods/a") == {"kind": "Pod"}
    server.answers = ["hang up", "hang up"]
    with pytest.raises(errors.RetryLater):
        api.get("/pods/a")
    assert len(server.asked) == 4


def test_a_write_whose_connection_breaks_may_have_been_done_and_is_not_repeated(server, api):
    server.answers = ["hang up"]
    with pytest.raises(errors.AmbiguousError):
        api.create("/pods", {})
    assert len(server.asked) == 1


def test_no_answer_in_time_leaves_it_open(server, api):
    server.answers = ["silence"]
    with pytest.raises(errors.AmbiguousError, match="in time"):
        api.create("/pods", {})


def test_without_a_connection_nothing_was_done():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with contextlib.closing(opened(port)) as api, pytest.raises(errors.RetryLater) as caught:
        api.create("/pods", {})
    assert not isinstance(caught.value, errors.AmbiguousError)


@pytest.mark.parametrize(
    "trouble", [OSError(24, "Too many open files"), config.ConfigException("Token file is empty")]
)
def test_a_token_that_cannot_be_read_now_is_read_again_later(server, trouble):
    troubles = [trouble]

    def refresh(_configuration):
        if troubles:
            raise troubles.pop()

    with contextlib.closing(opened(server.server_port, refresh=refresh)) as api:
        with pytest.raises(errors.RetryLater, match="no token") as caught:
            api.create("/pods", {})
        assert not isinstance(caught.value, errors.AmbiguousError)
        assert server.asked == []
        api.create("/pods", {})


def test_a_kubeconfig_says_where_who_and_which_namespace(tmp_path):
    file = tmp_path / "config"
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "here",
                "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
                "users": [{"name": "u", "user": {"token": "abc"}}],
                "contexts": [
                    {"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}
                ],
            }
        )
    )
    access = client.access(str(file))
    assert access.configuration.host == "https://127.0.0.1:1"
    assert access.namespace == "shop"
    assert access.authorization() == "Bearer abc"


def test_a_kubeconfig_that_is_not_there_is_said_in_one_line(tmp_path):
    with pytest.raises(errors.UsageError, match="no Kubernetes cluster"):
        client.access(str(tmp_path / "none"))
