"""The limit in Python: a bare protocol that reads, scores and answers, and does nothing else a server does.

limit.py MODEL.onnx PORT
"""

import asyncio
import sys

import httptools
import msgspec
import numpy as np
import onnxruntime
import uvloop

FEATURES = 20

Row = msgspec.defstruct("Row", [(f"x{n}", float) for n in range(FEATURES)])
Body = msgspec.defstruct("Body", [("instances", list[Row])])  # type: ignore[valid-type]


class Limit(asyncio.Protocol):
    """One connection."""

    session: onnxruntime.InferenceSession
    decode = staticmethod(msgspec.json.Decoder(Body).decode)
    encode = staticmethod(msgspec.json.Encoder().encode)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def data_received(self, data: bytes) -> None:
        """Parse."""
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Collect."""
        self.body += body

    def on_message_complete(self) -> None:
        """Score and answer."""
        rows = [msgspec.structs.astuple(row) for row in self.decode(self.body).instances]  # type: ignore[attr-defined]
        self.body = b""
        scores = self.session.run(None, {"input": np.array(rows, np.float32)})[0]
        content = self.encode({"predictions": scores.ravel().tolist()})
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self.transport.write(head % len(content) + content)  # type: ignore[attr-defined]


async def _serve(model: str, port: int) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    Limit.session = onnxruntime.InferenceSession(model, options)
    server = await asyncio.get_running_loop().create_server(Limit, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], int(sys.argv[2])))
