"""The two ways to serve: one process that Terraform attaches to, or one that Terraform starts itself.

Attached: `serve` listens on the loopback interface, one port per provider, says so in one line of JSON and
ends when its standard input closes. That happens when the parent ends, however it ends.
Started by Terraform: `serve_plugin` follows the handshake of Terraform's plugins, with certificates that
live in memory only.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from tf.gen import grpc_controller_pb2, grpc_controller_pb2_grpc

from plan_review.standin import schema
from plan_review.standin.provider import Provider
from plan_review.standin.sources import Source, StandinError

PROTOCOL = 6
THREADS = 8
MAGIC = ("TF_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2")
OPTIONS = (
    ("grpc.max_send_message_length", 256 << 20),
    ("grpc.max_receive_message_length", 256 << 20),
    ("grpc.so_reuseport", 0),  # the port is ours alone
)


class _Controller(grpc_controller_pb2_grpc.GRPCControllerServicer):  # type: ignore[misc]
    """Lets the Terraform that started the plugin stop it."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop

    def Shutdown(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        self.stop.set()
        return grpc_controller_pb2.Empty()


def _server(source: Source, pool: futures.ThreadPoolExecutor, data_folder: Path | None = None) -> grpc.Server:
    server = grpc.server(pool, options=OPTIONS)
    server.add_generic_rpc_handlers((Provider(schema.load(source), data_folder).handler(),))
    return server


def serve(sources: list[Source]) -> None:
    """Serve the sources to any number of Terraforms until standard input closes.

    Prints {"addresses": {source: "host:port"}, "folder": a folder that lives as long as the server}.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Terraform still needs the provider while it winds up
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    folder = tempfile.mkdtemp(prefix="modelyard-standin-")
    servers: list[grpc.Server] = []
    try:
        addresses = {}
        pool = futures.ThreadPoolExecutor(THREADS)
        for source in sources:
            server = _server(source, pool)
            addresses[source.address] = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
            server.start()
            servers.append(server)
        print(json.dumps({"addresses": addresses, "folder": folder}), flush=True)
        threading.Thread(target=_wait_for_end_of_input, args=(stop,), daemon=True).start()
        stop.wait()
    finally:
        for server in servers:
            server.stop(0)
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.flush()
    os._exit(0)  # the thread that reads standard input may still be blocked


def _wait_for_end_of_input(stop: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    stop.set()


def serve_plugin(source: Source) -> None:
    """Serve one source to the Terraform that started this process, until it says so or goes away.

    Raises StandinError when anything but Terraform starts it.
    """
    if os.environ.get(MAGIC[0]) != MAGIC[1]:
        raise StandinError("this is a Terraform provider: it is started by Terraform, not by hand")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    folder = tempfile.mkdtemp(prefix="modelyard-standin-")  # readable by this user only
    try:
        socket = os.path.join(folder, "provider.sock")
        # Terraform starts its plugins in the folder that it works in.
        data_folder = Path(os.environ.get("TF_DATA_DIR") or ".terraform").absolute()
        server = _server(source, futures.ThreadPoolExecutor(THREADS), data_folder)
        grpc_controller_pb2_grpc.add_GRPCControllerServicer_to_server(_Controller(stop), server)
        key, certificate, encoded = _certificate()
        # Terraform's own certificate is on a curve that gRPC's TLS does not verify; the folder, which only
        # this user can enter, keeps others out instead.
        server.add_secure_port(f"unix://{socket}", grpc.ssl_server_credentials([(key, certificate)]))
        server.start()
        print(f"1|{PROTOCOL}|unix|{socket}|grpc|{encoded}", flush=True)
        parent = os.getppid()
        while not stop.wait(2) and os.getppid() == parent:
            pass
        server.stop(0)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _certificate() -> tuple[bytes, bytes, str]:
    """A fresh key and certificate: (key PEM, certificate PEM, certificate for the handshake)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = certificate.public_bytes(serialization.Encoding.DER)
    return (
        private,
        certificate.public_bytes(serialization.Encoding.PEM),
        base64.b64encode(public).decode().rstrip("="),
    )
