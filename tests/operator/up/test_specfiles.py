"""Spec files on disk, applied to a real store."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serversets
import yaml
from ringmaster_operator import errors, local, observed, statedir, store
from ringmaster_operator.up import specfiles


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[store.Store]:
    made = store.Store(tmp_path / "ringmaster.db")
    yield made
    made.close()


def applier(kept: store.Store, tmp_path: Path) -> specfiles.Applier:
    """As a fresh operator makes it."""
    return specfiles.Applier(
        records=kept, remembered=tmp_path / "applied.json", check=lambda _template: ()
    )


def written(path: Path, *documents: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump_all(documents))
    return str(path)


def example(name: str = "web", *changes: tuple[str, Any]) -> dict[str, Any]:
    return serversets.changed(("metadata.name", name), *changes)


def found(*changes: tuple[str, Any]) -> specfiles.Found:
    return specfiles.Found(example("web", *changes), "web.yaml:1")


def replicas(kept: store.Store, name: str = "web") -> int:
    document = kept.get("default", name)
    assert document is not None
    return int(document["spec"]["replicas"])


def test_files_folders_and_standard_input_are_read(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    written(folder / "b.yml", example("b"))
    written(folder / "a.yaml", example("a"), example("aa"))
    (folder / "notes.txt").write_text("no manifest")
    piped = io.BytesIO(yaml.safe_dump(example("piped")).encode())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(piped))
    read = specfiles.read([str(folder), "-"])
    assert [each.document["metadata"]["name"] for each in read] == ["a", "aa", "b", "piped"]


def test_a_namespace_is_given_to_documents_that_name_none(tmp_path) -> None:
    path = written(tmp_path / "x.yaml", example("a"), example("b", ("metadata.namespace", "prod")))
    assert [each.key() for each in specfiles.read([path], namespace="prod")] == [
        ("prod", "a"),
        ("prod", "b"),
    ]


def test_a_namespace_that_contradicts_the_documents_own_is_refused(tmp_path) -> None:
    path = written(tmp_path / "x.yaml", example("b", ("metadata.namespace", "prod")))
    with pytest.raises(errors.UsageError, match='"prod", not "test": leave out -n, or say -n prod'):
        specfiles.read([path], namespace="test")


def test_standard_input_is_utf_8_whatever_the_terminals_encoding(monkeypatch) -> None:
    text = yaml.safe_dump(
        example("web", ("metadata.annotations", {"who": "Zoë"})), allow_unicode=True
    )
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="ascii"))
    assert specfiles.read(["-"])[0].document["metadata"]["annotations"] == {"who": "Zoë"}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a: \xff")))
    with pytest.raises(errors.UsageError, match='"standard input" cannot be read'):
        specfiles.read(["-"])


def test_what_cannot_be_remembered_is_an_error_of_ours(kept, tmp_path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    subject = specfiles.Applier(
        records=kept, remembered=blocked / "applied.json", check=lambda _: ()
    )
    with pytest.raises(errors.RetryLater, match=r"applied\.json cannot be written"):
        subject.apply([found()])


def test_a_folder_may_hold_objects_of_others_and_a_file_may_not(tmp_path) -> None:
    definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    other = written(tmp_path / "crd.yaml", definition)
    with pytest.raises(errors.UsageError, match="holds no ServerSet"):
        specfiles.read([str(tmp_path)])
    written(tmp_path / "web.yaml", example())
    assert [each.document for each in specfiles.read([str(tmp_path)])] == [example()]
    with pytest.raises(errors.SpecInvalidError, match="kind must be"):
        specfiles.read([other])
    written(tmp_path / "typo.yaml", example("api", ("kind", "Serverset")))
    with pytest.raises(errors.SpecInvalidError, match="kind must be"):
        specfiles.read([str(tmp_path)])


@pytest.mark.parametrize("path", ["none.yaml", "empty"])
def test_a_path_without_a_manifest_is_one_clear_line(tmp_path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.UsageError, match=path):
        specfiles.read([str(tmp_path / path)])


def unreadable(tmp_path: Path, kind: str) -> str:
    """A path that the system refuses, to root as well."""
    if kind == "Too many levels of symbolic links":
        path = tmp_path / "loop"
        path.symlink_to(path)
    elif kind == "Not a directory":
        (tmp_path / "file").write_text("")
        path = tmp_path / "file" / "web.yaml"
    else:
        path = tmp_path / ("x" * 300)
    return str(path)


REFUSALS = ["Too many levels of symbolic links", "Not a directory", "File name too long"]


@pytest.mark.parametrize("why", REFUSALS)
def test_a_path_that_cannot_be_looked_at_is_one_clear_line(tmp_path, why: str) -> None:
    path = unreadable(tmp_path, why)
    with pytest.raises(errors.UsageError) as caught:
        specfiles.read([path])
    assert str(caught.value) == f'"{path}" cannot be read: {why}'


def test_a_folder_that_cannot_be_listed_is_one_clear_line(tmp_path, monkeypatch) -> None:
    lost(monkeypatch)
    with pytest.raises(errors.UsageError) as caught:
        specfiles.read([str(tmp_path)])
    assert str(caught.value) == f'"{tmp_path}" cannot be read: Stale file handle'


def lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of a network file system has forgotten its folders."""

    def listed(self: Path) -> Iterator[Path]:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(self))

    monkeypatch.setattr(Path, "iterdir", listed)


@pytest.mark.parametrize(
    ("content", "why"), [(b"\xff", "'utf-8' codec"), (None, "Input/output error")]
)
def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path, content, why) -> None:
    path = tmp_path / "web.yaml"
    if content is None:
        if sys.platform != "linux":
            pytest.skip("a file that fails is found in /proc")
        path.symlink_to("/proc/self/mem")
    else:
        path.write_bytes(content)
    for given in (path, tmp_path):
        with pytest.raises(errors.UsageError) as caught:
            specfiles.read([str(given)])
        assert str(caught.value).startswith(f'"{path}" cannot be read: {why}')
        assert "\n" not in str(caught.value)


def test_faults_of_all_documents_are_told_at_once_with_their_names_and_places(tmp_path) -> None:
    one = written(tmp_path / "one.yaml", example("a", ("spec.replicas", -1)))
    two = written(tmp_path / "two.yaml", example("good"), example("b", ("spec.surprise", 1)))
    line = Path(two).read_text(encoding="utf-8").split("\n").index("---") + 2
    with pytest.raises(errors.SpecInvalidError) as caught:
        specfiles.checked(specfiles.read([str(tmp_path)]))
    paths = [fault.path for fault in caught.value.faults]
    assert paths == ["a: spec.replicas", "b: spec.surprise"]
    places = [fault.message.rpartition(" ")[2] for fault in caught.value.faults]
    assert places == [f"({one}:1)", f"({two}:{line})"]


def test_what_only_the_store_refuses_is_told_with_its_place(kept, tmp_path) -> None:
    """As kubectl: `error when creating "web.yaml"`."""
    fault = errors.Fault("spec.x", "no")
    subject = specfiles.Applier(
        records=kept, remembered=tmp_path / "applied.json", check=lambda _template: (fault,)
    )
    with pytest.raises(errors.RingmasterError) as caught:
        subject.apply([found()])
    assert errors.told(caught.value).endswith("spec.x: no (web.yaml:1)")


@pytest.mark.parametrize("document", [{}, {"metadata": 3}, {"metadata": {"name": 5}}])
def test_what_has_no_name_has_no_key(document: dict[str, Any]) -> None:
    with pytest.raises(errors.SpecInvalidError, match=r"metadata\.name: required \(x\.yaml:3\)"):
        specfiles.Found(document, "x.yaml:3").key()


def test_an_unchanged_file_is_not_applied_again_so_that_a_scale_survives(kept, tmp_path) -> None:
    assert applier(kept, tmp_path).apply([found()]) == ["serverset.ringmaster.dev/web created"]
    kept.update("default", "web", lambda now: now | {"spec": now["spec"] | {"replicas": 5}})
    assert applier(kept, tmp_path).apply([found()]) == []
    assert replicas(kept) == 5


def test_a_changed_file_is_applied_and_keeps_what_it_does_not_name(kept, tmp_path) -> None:
    applier(kept, tmp_path).apply([found()])
    kept.update("default", "web", lambda now: now | {"spec": now["spec"] | {"names": ["S5"]}})
    lines = applier(kept, tmp_path).apply([found(("spec.replicas", 4))])
    assert lines == ["serverset.ringmaster.dev/web configured"]
    assert replicas(kept) == 4
    assert kept.get("default", "web")["spec"]["names"] == ["S5"]


def test_what_was_deleted_comes_back_only_when_asked_for(kept, tmp_path) -> None:
    applier(kept, tmp_path).apply([found()])
    document = kept.delete("default", "web")
    meta = document["metadata"]
    kept.forget(observed.Owner(meta["namespace"], meta["name"], meta["uid"]))
    assert applier(kept, tmp_path).apply([found()]) == []
    assert kept.get("default", "web") is None
    assert applier(kept, tmp_path).apply([found()], missing=True) == [
        "serverset.ringmaster.dev/web created"
    ]


def test_what_was_lost_with_the_database_is_made_anew_and_what_was_deleted_is_not(
    kept, tmp_path
) -> None:
    applier(kept, tmp_path).apply([found()])
    with contextlib.closing(store.Store(tmp_path / "fresh.db")) as fresh:
        # As an operator that ended and is started again, without `--create-missing`.
        assert applier(fresh, tmp_path).apply([found()]) == ["serverset.ringmaster.dev/web created"]
        document = fresh.delete("default", "web")
        fresh.forget(local.owner(document))
        assert applier(fresh, tmp_path).apply([found()]) == []
        assert fresh.get("default", "web") is None


def test_what_the_runtime_cannot_honour_is_not_stored(kept, tmp_path) -> None:
    fault = errors.Fault("spec.template.spec.x", "no")
    subject = specfiles.Applier(
        records=kept, remembered=tmp_path / "applied.json", check=lambda _template: (fault,)
    )
    with pytest.raises(errors.RingmasterError, match=r"spec\.template\.spec\.x"):
        subject.apply([found()])
    assert kept.get("default", "web") is None
    assert statedir.read_json(tmp_path / "applied.json") == {}


def test_a_stamp_changes_with_a_file_and_with_a_new_file_in_a_folder(tmp_path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("1")
    first = specfiles.stamp([str(tmp_path)])
    assert specfiles.stamp([str(tmp_path)]) == first
    path.write_text("22")
    second = specfiles.stamp([str(tmp_path)])
    (tmp_path / "b.yaml").write_text("")
    assert len({first, second, specfiles.stamp([str(tmp_path)])}) == 3


def test_a_file_that_is_away_for_a_moment_has_a_stamp_too(tmp_path) -> None:
    assert specfiles.stamp([str(tmp_path / "none")]) == ()


@pytest.mark.parametrize("why", REFUSALS)
def test_a_path_that_cannot_be_looked_at_hides_no_change_of_another(tmp_path, why: str) -> None:
    other = tmp_path / "web.yaml"
    other.write_text("1")
    paths = [unreadable(tmp_path, why), str(other)]
    first = specfiles.stamp(paths)
    other.write_text("22")
    assert len(first) == 1
    assert specfiles.stamp(paths) != first


def test_a_folder_that_cannot_be_listed_has_a_stamp_too(tmp_path, monkeypatch) -> None:
    (tmp_path / "web.yaml").write_text("1")
    before = specfiles.stamp([str(tmp_path)])
    lost(monkeypatch)
    assert specfiles.stamp([str(tmp_path)]) != before
