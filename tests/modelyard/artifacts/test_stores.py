"""A store keeps what was written first, whole, whoever comes second."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from modelyard.artifacts import ArtifactError, NameTaken, NotStored, fetch, open_store
from modelyard.artifacts.digests import digest_of
from modelyard.artifacts.stores import checked, create_or_same


def _race(url: str, content: bytes) -> bool | str:
    try:
        return create_or_same(open_store(url), "team/model/1/manifest.json", content)
    except NameTaken:
        return "taken"


def test_what_is_written_is_read_and_listed_and_never_replaced(url: str, tmp_path: Path) -> None:
    store = open_store(url)
    content = bytes(range(256)) * 700 + b"\r\n--\r\n"
    assert store.names("team/model") == []
    assert store.create("team/model/1/model.onnx", content)
    assert store.create("team/model/10/model.onnx", b"ten")
    assert store.create("team/model-b/1/model.onnx", b"other")
    assert not store.create("team/model/1/model.onnx", b"second")
    assert open_store(url).read("team/model/1/model.onnx") == content
    assert store.names("team/model") == ["team/model/1/model.onnx", "team/model/10/model.onnx"]
    store.download("team/model/1/model.onnx", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert create_or_same(store, "team/model/1/model.onnx", content) is False
    with pytest.raises(NameTaken, match="with other content; files never change"):
        create_or_same(store, "team/model/1/model.onnx", b"second")


def test_what_is_not_there_is_said(url: str, tmp_path: Path) -> None:
    store = open_store(url)
    with pytest.raises(NotStored, match=r"There is no file .*nothing\.onnx"):
        store.read("nothing.onnx")
    with pytest.raises(NotStored, match=r"There is no file .*nothing\.onnx"):
        store.download("nothing.onnx", tmp_path / "copy")


def test_of_two_processes_one_wins_and_the_other_is_told(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        results = list(pool.map(_race, [url] * 6, [b"a" * 100_000, b"b" * 100_000] * 3))
    held = open_store(url).read("team/model/1/manifest.json")
    assert held in (b"a" * 100_000, b"b" * 100_000)
    assert sorted(map(str, results)) == ["False", "False", "True", "taken", "taken", "taken"]


def test_a_fetched_file_is_the_registered_one(url: str, tmp_path: Path) -> None:
    store = open_store(url)
    store.create("t/m/1/model.onnx", b"the model")
    path = fetch(url, "t/m/1/model.onnx", digest_of(b"the model"), tmp_path / "into")
    assert (path.name, path.read_bytes()) == ("model.onnx", b"the model")
    with pytest.raises(ArtifactError, match="is not the registered file: its digest is sha256:"):
        fetch(url, "t/m/1/model.onnx", digest_of(b"another"), tmp_path / "other")
    assert list((tmp_path / "other").iterdir()) == [], "nothing that is not trusted stays"
    if "://" in url:
        path = fetch("unused", f"{url}/t/m/1/model.onnx", digest_of(b"the model"), tmp_path / "absolute")
        assert path.read_bytes() == b"the model"


def test_a_changed_copy_is_fetched_anew(tmp_path: Path) -> None:
    open_store(tmp_path / "registry").create("t/m/1/model.onnx", b"the model")
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "model.onnx").write_bytes(b"stale")
    path = fetch(tmp_path / "registry", "t/m/1/model.onnx", digest_of(b"the model"), tmp_path / "into")
    assert path.read_bytes() == b"the model"


@pytest.mark.parametrize("name", ["../x", "a/../b", "/etc/passwd", "a//b", "", "a/.hidden", "a b", "a/\nb"])
def test_names_lead_out_of_no_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is no name in a store"):
        checked(name)
    with pytest.raises(ArtifactError, match="is no name in a store"):
        fetch(tmp_path, name, "sha256:" + "0" * 64, tmp_path / "into")


@pytest.mark.parametrize("url", ["ftp://models/x", "gs://", "s3:///x"])
def test_other_addresses_are_no_stores(url: str) -> None:
    with pytest.raises(ArtifactError, match="is no store: name a folder, gs://bucket or s3://bucket"):
        open_store(url)


def test_a_missing_bucket_is_said(s3: str, gcs: object, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"Cannot write s3://nowhere/x: .*NoSuchBucket"):
        open_store("s3://nowhere").create("x", b"1")
    with pytest.raises(ArtifactError, match=r"Cannot write gs://nowhere/x: 404"):
        open_store("gs://nowhere").create("x", b"1")


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ArtifactError, match=r"Cannot write .*: "):
        open_store(tmp_path / "file").create("x", b"1")
