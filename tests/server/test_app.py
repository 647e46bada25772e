from __future__ import annotations

import pytest
from ringmaster_server import app


@pytest.fixture
def client():
    return app.create_app("S1").test_client()


def test_home_says_which_server_answered(client):
    response = client.get("/home")

    assert response.status_code == 200
    assert response.json == {"message": "Hello from Server: S1", "status": "successful"}


def test_heartbeat_is_200_with_an_empty_body(client):
    response = client.get("/heartbeat")

    assert (response.status_code, response.data) == (200, b"")


@pytest.mark.parametrize("path", ["/", "/other", "/home/", "/static/x"])
def test_any_other_path_is_a_404(client, path):
    assert client.get(path).status_code == 404


def test_an_id_is_data_and_comes_back_as_it_was_given():
    client = app.create_app('"><b>ü').test_client()

    assert client.get("/home").json["message"] == 'Hello from Server: "><b>ü'
