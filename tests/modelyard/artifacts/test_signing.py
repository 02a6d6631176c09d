"""A signature holds for the signed bytes and the pinned key, and for nothing else."""

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st
from model_signing import verifying

from modelyard.artifacts import ArtifactError, fetch_signed, open_store, verify
from modelyard.artifacts.digests import digest_of
from modelyard.artifacts.signing import sign, signing_key

FILES = {"model.onnx": b"online", "model.ubj": b"native"}


def key_file(path: Path, curve: ec.EllipticCurve | None = None) -> Path:
    key = ec.generate_private_key(curve or ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(pem)
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The signed files, `bundle` and `key.pub`."""
    root = tmp_path_factory.mktemp("signed")
    bundle, public = sign(FILES, key_file(root / "key.pem"))
    (root / "bundle").write_bytes(bundle)
    (root / "key.pub").write_text(public)
    (root / "model").mkdir()
    for name, content in FILES.items():
        (root / "model" / name).write_bytes(content)
    return root


def accepted_here(folder: Path, bundle: bytes, public: str) -> bool:
    try:
        verify(sorted((folder / "model").iterdir()), bundle, public)
    except ArtifactError:
        return False
    return True


def accepted_by_the_reference(folder: Path, bundle: bytes, public: str, scratch: Path) -> bool:
    (scratch / "bundle").write_bytes(bundle)
    (scratch / "key.pub").write_text(public)
    config = verifying.Config()  # type: ignore[no-untyped-call]
    try:
        config.use_elliptic_key_verifier(public_key=scratch / "key.pub").verify(
            folder / "model", scratch / "bundle"
        )
    except Exception:
        return False
    return True


def test_what_is_signed_is_accepted_whole_and_in_part(folder: Path, tmp_path: Path) -> None:
    bundle, public = (folder / "bundle").read_bytes(), (folder / "key.pub").read_text()
    assert accepted_here(folder, bundle, public)
    assert accepted_by_the_reference(folder, bundle, public, tmp_path)
    verify([folder / "model" / "model.onnx"], bundle, public)


def altered(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def apply(bundle: bytes) -> bytes:
        document = json.loads(bundle)
        envelope = document["dsseEnvelope"]
        statement = json.loads(base64.b64decode(envelope["payload"]))
        change(statement)
        envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
        return json.dumps(document).encode()

    return apply


@pytest.mark.parametrize(
    "change",
    [
        altered(lambda s: s["predicate"]["resources"][0].update(digest="0" * 64)),
        altered(lambda s: s["predicate"]["resources"].pop()),
        altered(lambda s: s.update(predicateType="other")),
    ],
)
def test_an_altered_statement_is_refused(
    change: Callable[[bytes], bytes], folder: Path, tmp_path: Path
) -> None:
    bundle, public = change((folder / "bundle").read_bytes()), (folder / "key.pub").read_text()
    assert not accepted_by_the_reference(folder, bundle, public, tmp_path)
    with pytest.raises(ArtifactError, match="not of the key in the pinned manifest; do not serve it"):
        verify([folder / "model" / "model.onnx"], bundle, public)


@given(where=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_no_flipped_bit_of_the_bundle_makes_other_files_trusted(folder: Path, where: int, bit: int) -> None:
    bundle = bytearray((folder / "bundle").read_bytes())
    bundle[where % len(bundle)] ^= 1 << bit
    other = folder / "other" / "model.onnx"
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(b"something else")
    with pytest.raises(ArtifactError):
        verify([other], bytes(bundle), (folder / "key.pub").read_text())


def test_another_key_is_refused(folder: Path, tmp_path: Path) -> None:
    bundle = (folder / "bundle").read_bytes()
    _, other = sign(FILES, key_file(tmp_path / "other.pem"))
    assert not accepted_by_the_reference(folder, bundle, other, tmp_path)
    with pytest.raises(ArtifactError, match="not of the key in the pinned manifest"):
        verify([folder / "model" / "model.onnx"], bundle, other)


def test_other_content_and_other_names_are_refused(folder: Path, tmp_path: Path) -> None:
    bundle, public = (folder / "bundle").read_bytes(), (folder / "key.pub").read_text()
    (tmp_path / "model.onnx").write_bytes(b"onlinE")
    with pytest.raises(ArtifactError, match=r"model\.onnx is not the file that was signed"):
        verify([tmp_path / "model.onnx"], bundle, public)
    (tmp_path / "evil.onnx").write_bytes(b"online")
    with pytest.raises(ArtifactError, match=r"evil\.onnx is not among the signed files: model\.onnx, "):
        verify([tmp_path / "evil.onnx"], bundle, public)


@pytest.mark.parametrize("bundle", [b"", b"{}", b"[]", b"\xff\xfe", b'{"dsseEnvelope": {"payload": "%"}}'])
def test_what_is_no_bundle_is_refused(bundle: bytes, folder: Path) -> None:
    with pytest.raises(ArtifactError, match="The signature is no Sigstore bundle"):
        verify([folder / "model" / "model.onnx"], bundle, (folder / "key.pub").read_text())


def test_keys_that_are_not_elliptic_are_refused(folder: Path, tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    bundle = (folder / "bundle").read_bytes()
    with pytest.raises(ArtifactError, match="not of the curves P-256"):
        verify([folder / "model" / "model.onnx"], bundle, public.decode())
    with pytest.raises(ArtifactError, match="The public key in the manifest cannot be read"):
        verify([folder / "model" / "model.onnx"], bundle, "none")
    (tmp_path / "bad.pem").write_text("none")
    with pytest.raises(ArtifactError, match=r"Cannot sign with .*bad\.pem"):
        sign(FILES, tmp_path / "bad.pem")


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_the_larger_curves_work_too(curve: ec.EllipticCurve, folder: Path, tmp_path: Path) -> None:
    bundle, public = sign(FILES, key_file(tmp_path / "key.pem", curve))
    assert accepted_here(folder, bundle, public)
    assert accepted_by_the_reference(folder, bundle, public, tmp_path)


def test_a_signed_file_is_fetched_and_a_tampered_store_refused(tmp_path: Path) -> None:
    bundle, public = sign(FILES, key_file(tmp_path / "key.pem"))
    store = open_store(tmp_path / "registry")
    store.create("t/m/1/model.onnx", b"online")
    store.create("t/m/1/bundle.json", bundle)
    signing = {
        "bundle_uri": "t/m/1/bundle.json",
        "bundle_digest": digest_of(bundle),
        "public_key": public,
    }
    path = fetch_signed(
        tmp_path / "registry", "t/m/1/model.onnx", digest_of(b"online"), tmp_path / "into", **signing
    )
    assert path.read_bytes() == b"online"
    # Who changes the file, and the pin with it, still lacks the key.
    (tmp_path / "registry/t/m/1/model.onnx").write_bytes(b"evil")
    with pytest.raises(ArtifactError, match="is not the file that was signed"):
        fetch_signed(
            tmp_path / "registry", "t/m/1/model.onnx", digest_of(b"evil"), tmp_path / "into", **signing
        )


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path / "home")}
    first = signing_key(tmp_path / "fallback", home)
    assert first == tmp_path / "home/.config/modelyard/signing-key.pem"
    assert first.stat().st_mode & 0o777 == 0o600
    content = first.read_bytes()
    assert signing_key(tmp_path / "fallback", home).read_bytes() == content
    first.chmod(0o644)
    with pytest.raises(ArtifactError, match=r"Others may read the signing key .*: run `chmod 600 "):
        signing_key(tmp_path / "fallback", home)


def test_the_key_is_elsewhere_where_home_cannot_be_written_or_a_variable_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    nowhere = {"HOME": str(tmp_path / "file")}
    assert signing_key(tmp_path / "fallback", nowhere) == tmp_path / "fallback" / "signing-key.pem"
    with pytest.raises(ArtifactError, match="name a key with MODELYARD_SIGNING_KEY"):
        signing_key(tmp_path / "file", nowhere)
    key = key_file(tmp_path / "own.pem")
    assert signing_key(tmp_path, {"MODELYARD_SIGNING_KEY": str(key)}) == key
    with pytest.raises(ArtifactError, match=r"MODELYARD_SIGNING_KEY names .*, which is no file"):
        signing_key(tmp_path, {"MODELYARD_SIGNING_KEY": os.fspath(tmp_path / "none.pem")})
