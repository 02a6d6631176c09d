"""Signs model files as the OpenSSF Model Signing specification says, with an elliptic key, without network.

`sign` uses the package model-signing. `verify` reads the same bundles with `cryptography` alone: importing
model-signing costs a server 1 s and 48 MB. Tests hold the two against each other.
"""

import base64
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from modelyard.artifacts.digests import digest_of_file
from modelyard.artifacts.errors import ArtifactError

KEY_VARIABLE = "MODELYARD_SIGNING_KEY"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_PREDICATE = "https://model_signing/signature/v1.0"
_HASHES = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}


def signing_key(fallback: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file of the private key that signs; on first use it is made, readable by its owner alone.

    It is the file that `MODELYARD_SIGNING_KEY` names, which must be there; else
    `modelyard/signing-key.pem` in the user's configuration folder, or, where that cannot be written, in the
    folder `fallback`.

    Raises:
        ArtifactError: there is no such key, others may read it, or it cannot be made.
    """
    if named := environ.get(KEY_VARIABLE):
        path = Path(named)
        if not path.is_file():
            raise ArtifactError(
                f"{KEY_VARIABLE} names {path}, which is no file. Make a key with "
                f"`openssl ecparam -name prime256v1 -genkey -noout -out {path}`, or unset the variable"
            )
        return _private(path)
    configuration = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME") or "~", ".config")
    folders = [Path(configuration).expanduser() / "modelyard", fallback]
    for folder in folders:
        path = folder / "signing-key.pem"
        try:
            if path.is_file() or _make(path):
                return _private(path)
        except OSError:
            continue
    raise ArtifactError(
        f"No signing key can be made in {' or '.join(map(str, folders))}: name a key with {KEY_VARIABLE}"
    )


def sign(files: Mapping[str, bytes], private_key: Path) -> tuple[bytes, str]:
    """Return a signature over `files`, name -> content, as a Sigstore bundle, and the public key as PEM.

    Raises:
        ArtifactError: the key cannot be used.
    """
    from model_signing import signing

    with tempfile.TemporaryDirectory() as folder:
        model, bundle = Path(folder) / "model", Path(folder) / "bundle"
        model.mkdir()
        for name, content in files.items():
            (model / name).write_bytes(content)
        try:
            config = signing.Config()  # type: ignore[no-untyped-call]
            config = config.use_elliptic_key_signer(private_key=private_key)
            config.sign(model, bundle)
            key = serialization.load_pem_private_key(private_key.read_bytes(), None)
        except (ValueError, TypeError, OSError) as error:
            raise ArtifactError(
                f"Cannot sign with {private_key}: {error}. An elliptic key as PEM without password can"
            ) from None
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return bundle.read_bytes(), public.decode()


def verify(paths: Sequence[Path], bundle: bytes, public_key: str) -> None:
    """Check that the holder of `public_key` signed each of the files, under its name and with its content.

    Args:
        paths: files that were signed together, or some of them.
        bundle: the signature, a Sigstore bundle as `sign` or the command model_signing makes it.
        public_key: elliptic public key as PEM.

    Raises:
        ArtifactError: the signature is unreadable, of another key, or not over these files.
    """
    signed = _signed_digests(bundle, public_key)
    for path in paths:
        if path.name not in signed:
            raise ArtifactError(f"{path.name} is not among the signed files: {', '.join(sorted(signed))}")
        if digest_of_file(path) != signed[path.name]:
            raise ArtifactError(f"{path.name} is not the file that was signed; do not serve it")


def _signed_digests(bundle: bytes, public_key: str) -> dict[str, str]:
    """Return name -> digest of the signed files, once the signature is verified."""
    try:
        envelope = json.loads(bundle)["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        kind = envelope["payloadType"]
        (signature,) = envelope["signatures"]
        value = base64.b64decode(signature["sig"], validate=True)
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"The signature is no Sigstore bundle: {error!r}. Publish the model again"
        ) from None
    key = _public(public_key)
    # What a DSSE envelope signs: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
    message = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    try:
        key.verify(value, message, ec.ECDSA(_HASHES[key.key_size]))
    except InvalidSignature:
        raise ArtifactError(
            "The signature is not of the key in the pinned manifest; do not serve it"
        ) from None
    statement = json.loads(payload)
    predicate = statement.get("predicate", {})
    if kind != _PAYLOAD_TYPE or statement.get("predicateType") != _PREDICATE:
        raise ArtifactError(f"What is signed is no model, but a {statement.get('predicateType')}")
    if predicate["serialization"]["method"] != "files" or predicate["serialization"]["hash_type"] != "sha256":
        raise ArtifactError("The files were signed by another method than SHA-256 of whole files")
    return {entry["name"]: f"sha256:{entry['digest']}" for entry in predicate["resources"]}


def _public(pem: str) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except ValueError as error:
        raise ArtifactError(f"The public key in the manifest cannot be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.key_size not in _HASHES:
        raise ArtifactError("The public key in the manifest is not of the curves P-256, P-384 or P-521")
    return key


def _make(path: Path) -> bool:
    """Make a new key in `path`, unless another process is faster."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    handle, draft = tempfile.mkstemp(dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(key)
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(draft)
    return True


def _private(path: Path) -> Path:
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise ArtifactError(f"Others may read the signing key {path}: run `chmod 600 {path}`")
    return path
