"""A client that does exactly what it is told, right or wrong."""

from __future__ import annotations

import time

import numpy as np
import zmq

from bridge.wire import protocol as wire
from bridge.wire.codec import decode_to_plugin, encode, encode_samples
from bridge.wire.security import secure_client

HELLO = wire.Hello((1, 1), 48_000, 1, 512)


class Raw:
    def __init__(self, connection, *, secure=secure_client, **options):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        for name, value in options.items():
            setattr(self.socket, name, value)
        secure(self.socket, connection)
        self.socket.connect(connection.endpoint)
        self.seq = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        self.socket.close(linger=0)
        self.context.term()

    def send(self, message, *frames):
        self.socket.send_multipart([encode(message), *frames])

    def raw(self, *frames):
        self.socket.send_multipart(list(frames))

    def audio(self, start, audio, transport=None):
        self.seq += 1
        message = wire.Audio(self.seq, start, audio.shape[1], transport or wire.Transport())
        self.send(message, encode_samples(audio))

    def silence(self, start, samples=512, channels=1):
        self.audio(start, np.zeros((channels, samples), np.float32))

    def receive(self, timeout_s=5.0):
        """The next message, or `None`."""
        return decode_to_plugin(self.socket.recv()) if self.socket.poll(timeout_s * 1000) else None

    def expect(self, kind, timeout_s=5.0):
        """The next message of a kind; others are passed over."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            message = self.receive(left)
            if isinstance(message, kind):
                return message
        raise AssertionError(f"no {kind.__name__} came")

    def hello(self, hello=HELLO):
        self.send(hello)
        return self.expect(wire.Welcome)
