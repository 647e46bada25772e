"""The Flask app: what the example server answers.

Law: no state and no environment; the id comes in, `__main__` reads the surroundings.
"""

from __future__ import annotations

import flask


def create_app(server_id: str) -> flask.Flask:
    """The app of one server; any path but the two below is a 404."""
    app = flask.Flask(__name__, static_folder=None)

    @app.get("/home")
    def home() -> dict[str, str]:
        return {"message": f"Hello from Server: {server_id}", "status": "successful"}

    @app.get("/heartbeat")
    def heartbeat() -> flask.Response:
        return flask.Response(status=200)

    return app
