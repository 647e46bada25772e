"""The Docker Engine's API, as far as the runtime needs it: the one place that knows docker-py.

Law: edge. One method is one call; every error of the library becomes one of `errors`, once.
`DOCKER_HOST` (and the variables for its TLS) name the engine, as for the docker command.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import docker
import docker.errors
import docker.utils
import requests

from ringmaster_operator import errors

CALL_SECONDS = 60  # a busy engine creates slowly; nothing else waits so long
_POOL = 48  # connections kept: 8 creates, 8 removals, 32 probes by command
# A stream that is silent for so long is opened anew: behind a connection that broke without a word
# (a proxy, a network) nobody would ever speak again.
EVENT_SECONDS = 180
_EVENTS = ("start", "die", "destroy", "pause", "unpause", "rename")
_GONE = frozenset({404, 409})  # 409: its removal is in progress, or it does not run
_NOT_RUNNABLE = ("executable file not found", "permission denied", "no such file or directory")


class NoSuchImageError(errors.RefusedError):
    """The engine does not have the image."""


class Engine:
    """A connection to an engine; safe to use from several threads."""

    def __init__(self) -> None:
        """Connect.

        Raises:
            UsageError: nobody answers; one line.
        """
        try:
            self._api = docker.APIClient(
                version="auto",
                timeout=CALL_SECONDS,
                max_pool_size=_POOL,
                **docker.utils.kwargs_from_env(),
            )
            info = self._api.info()
            self.cpus = float(info["NCPU"])
            self.log_driver = str(info.get("LoggingDriver") or "")
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise errors.UsageError(
                f"no Docker Engine answers ({error}): is it running, may this user use its "
                "socket, does DOCKER_HOST name it?"
            ) from error

    def close(self) -> None:
        """Give back the connections."""
        self._api.close()

    def network_driver(self, name: str) -> str | None:
        """The driver of a network, None if there is none of this name.

        Raises:
            RetryLater: the engine does not answer.
        """
        with _calling(f"inspect network {name}"):
            try:
                return str(self._api.inspect_network(name)["Driver"])
            except docker.errors.NotFound:
                return None

    def listed(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """Every container with these labels, running or not, in short form.

        Raises:
            RetryLater: the engine does not answer.
        """
        wanted = [f"{name}={value}" for name, value in labels.items()]
        with _calling("list containers"):
            found: list[dict[str, Any]] = self._api.containers(all=True, filters={"label": wanted})
            return found

    def inspect(self, container: str) -> dict[str, Any] | None:
        """Everything about a container by id or name, None if it is gone.

        Raises:
            RetryLater: the engine does not answer.
        """
        with _calling(f"inspect {container[:12]}"):
            try:
                document: dict[str, Any] = self._api.inspect_container(container)
            except docker.errors.NotFound:
                return None
            return document

    def is_taken(self, name: str) -> bool:
        """Whether a container, running or not, has this very name.

        Not by `inspect`, which takes the first letters of an id for a name as well.

        Raises:
            RetryLater: the engine does not answer.
        """
        exactly = f"^/?{re.escape(name)}$"
        with _calling(f"look for {name}"):
            found = self._api.containers(all=True, filters={"name": exactly})
            return any(f"/{name}" in each["Names"] for each in found)

    def create(self, name: str, body: Mapping[str, Any]) -> str:
        """Make a container, which does not run yet; its id.

        Raises:
            AlreadyExistsError, NoSuchImageError, RefusedError, AmbiguousError, RetryLater
        """
        with _making(f"create {name}"):
            try:
                made: Any = self._api.create_container_from_config(dict(body), name)  # type: ignore[no-untyped-call]  # its stub lacks types
                return str(made["Id"])
            except docker.errors.ImageNotFound as error:
                raise NoSuchImageError("ErrImageMissing", _said(error)) from error

    def start(self, container: str) -> None:
        """Start a container that was made.

        Raises:
            RefusedError, AmbiguousError, RetryLater
        """
        with _making(f"start {container[:12]}"):
            self._api.start(container)

    def signal(self, container: str, name: str) -> None:
        """Send a signal; what does not run or is gone gets none.

        Raises:
            RetryLater: the engine does not answer.
        """
        with _calling(f"signal {container[:12]}"):
            try:
                self._api.kill(container, name)
            except docker.errors.APIError as error:
                if error.status_code not in _GONE:
                    raise

    def delete(self, container: str) -> None:
        """Kill a container if it runs, and remove it with its anonymous volumes. Idempotent.

        Raises:
            RetryLater: the engine does not answer, or could not.
        """
        with _calling(f"delete {container[:12]}"):
            try:
                self._api.remove_container(container, v=True, force=True)
            except docker.errors.APIError as error:
                if error.status_code not in _GONE:
                    raise

    def end(self, container: str, *, grace: float) -> None:
        """Stop a container, by its image's signal and after so many seconds SIGKILL, and remove it.

        Raises:
            RetryLater: the engine does not answer, or could not.
        """
        with _calling(f"stop {container[:12]}"), contextlib.suppress(docker.errors.NotFound):
            self._api.stop(container, timeout=round(grace))
        self.delete(container)

    def last_line(self, container: str) -> str:
        """What a container wrote last, or nothing."""
        with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
            written = self._api.logs(container, tail=1, stdout=True, stderr=True)
            lines = bytes(written).decode(errors="replace").strip().splitlines()
            return lines[-1] if lines else ""
        return ""

    def image_labels(self, image: str) -> Mapping[str, str]:
        """The labels of an image, none if it is not there.

        Raises:
            RetryLater: the engine does not answer.
        """
        with _calling(f"inspect image {image}"):
            try:
                document: Any = self._api.inspect_image(image)  # type: ignore[no-untyped-call]  # as above
            except docker.errors.ImageNotFound:
                return {}
            labels: Mapping[str, str] = document["Config"].get("Labels") or {}
            return labels

    def pull(self, image: str) -> None:
        """Fetch an image, however long it takes.

        Raises:
            RefusedError: the engine cannot; its own words.
        """
        try:
            for line in self._api.pull(image, stream=True, decode=True):
                if "error" in line:
                    raise errors.RefusedError("ErrImagePull", f"{image}: {line['error']}")
        except docker.errors.APIError as error:
            raise errors.RefusedError("ErrImagePull", f"{image}: {_said(error)}") from error
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise errors.RetryLater(f"pull {image}: {error}") from error

    def begin(self, container: str, command: tuple[str, ...]) -> str:
        """Start a command in a container; what `ended_well` knows it by.

        Raises:
            RetryLater: the engine does not answer, or the container does not run.
        """
        with _calling(f"exec in {container[:12]}"):
            made = self._api.exec_create(container, list(command), stdout=False, stderr=False)
            self._api.exec_start(made["Id"], detach=True)
            return str(made["Id"])

    def ended_well(self, begun: str) -> bool | None:
        """Whether a command has exited with 0; None while it runs. One that is gone has failed.

        Raises:
            RetryLater: the engine does not answer.
        """
        with _calling(f"look at exec {begun[:12]}"):
            try:
                seen = self._api.exec_inspect(begun)
            except docker.errors.NotFound:
                return False
            return None if seen["Running"] else bool(seen["ExitCode"] == 0)

    def events(self, label: str) -> EventStream:
        """What happens to containers that carry a label, from now on.

        Raises:
            RetryLater: the engine does not answer.
        """
        filters = {"type": ["container"], "event": list(_EVENTS), "label": [label]}
        # Not docker-py's own stream: closed from another thread it leaves a socket open.
        with _calling("events"):
            response = self._api.get(
                f"{self._api.base_url}/v{self._api.api_version}/events",
                params={"filters": docker.utils.convert_filters(filters)},
                stream=True,
                timeout=(CALL_SECONDS, EVENT_SECONDS),
            )
            response.raise_for_status()
            return EventStream(response)


class EventStream:
    """An open stream of events; iterating ends when it breaks, falls silent or is shut."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Each event; blocks in between. To be done once."""
        with self._response, contextlib.suppress(requests.RequestException, OSError, ValueError):
            for line in self._response.iter_lines():
                yield json.loads(line)

    def shut(self) -> None:
        """End it, from any thread: who iterates sees its end."""
        with contextlib.suppress(OSError, ValueError):
            self._response.raw.shutdown()


@contextlib.contextmanager
def _calling(what: str) -> Iterator[None]:
    """For calls that can be repeated: whatever goes wrong, try again later."""
    try:
        yield
    except docker.errors.APIError as error:
        raise errors.RetryLater(f"{what}: {_said(error)}") from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise errors.RetryLater(f"{what}: the engine does not answer: {error}") from error


@contextlib.contextmanager
def _making(what: str) -> Iterator[None]:
    """For calls that make something: what is refused, what may have happened, what has not."""
    try:
        yield
    except docker.errors.APIError as error:
        raise _refusal(what, error) from error
    except requests.ConnectTimeout as error:
        raise errors.RetryLater(f"{what}: the engine does not answer") from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise errors.AmbiguousError(f"{what}: no answer: {error}") from error


def _refusal(what: str, error: docker.errors.APIError) -> errors.RingmasterError:
    said = _said(error)
    if any(words in said for words in _NOT_RUNNABLE):
        return errors.RefusedError("InvalidCommand", said)
    match error.status_code:
        case 409:
            return errors.AlreadyExistsError(said)
        case 404 if "network" in said:
            return errors.RefusedError("NetworkNotFound", said)
        case 400 | 403 | 404:
            return errors.RefusedError("InvalidContainer", said)
        case _:
            return errors.RetryLater(f"{what}: {said}")


def _said(error: docker.errors.APIError) -> str:
    """The engine's own words."""
    return str(error.explanation or error).strip()
