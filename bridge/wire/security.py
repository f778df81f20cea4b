"""Who may talk to the sidecar: CURVE keys, the allow-list, and the gate that asks for them.

Every connection is encrypted and both ends prove their keys; there is no other way in. ZeroMQ
accepts any client key unless something answers its ZAP questions, so `Gate` answers them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from pathlib import Path

import msgspec
import zmq
from zmq.utils import z85

from bridge.errors import LinkError, UsageError
from bridge.wire.connection import Connection
from bridge.wire.folders import check_secret, data_folder, write_secret

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]


class KeyPair(msgspec.Struct, frozen=True):
    """A CURVE key pair, each 40 characters of Z85."""

    public: str
    secret: str


def keys_folder() -> Path:
    """Where key pairs are kept."""
    return data_folder() / "keys"


def key_pair(name: str, folder: Path | None = None) -> KeyPair:
    """The stored key pair `name`; made at the first call, mode 0600."""
    path = (folder or keys_folder()) / f"{name}.json"
    if not path.exists():
        public, secret = zmq.curve_keypair()
        pair = KeyPair(public.decode(), secret.decode())
        write_secret(path, msgspec.json.encode(pair))
        return pair
    check_secret(path)
    try:
        pair = msgspec.json.decode(path.read_bytes(), type=KeyPair)
        matches = zmq.curve_public(pair.secret.encode()) == pair.public.encode()
    except (OSError, ValueError, msgspec.MsgspecError, zmq.ZMQError) as error:
        raise _damaged(path, str(error)) from error
    if not matches:
        raise _damaged(path, "public and secret key do not belong together")
    return pair


def read_allow_list(path: Path) -> frozenset[str]:
    """Public keys, one a line; anything after the key is a comment, `#` starts a comment line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"allow-list {path} cannot be read", why=str(error), remedy="Name a text file with one key a line"
        ) from error
    keys = [line.split()[0] for line in lines if line.strip() and not line.lstrip().startswith("#")]
    for key in keys:
        if len(key) != 40:
            raise UsageError(
                f"allow-list {path}: {key!r} is no public key",
                why="a key has 40 characters",
                remedy="Copy the line that `public` shows in the other machine's key file",
            )
    return frozenset(keys)


def check_endpoint(endpoint: str, allowed: Collection[str]) -> None:
    """Refuse to listen beyond this machine unless an allow-list says to whom."""
    host = endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    if not endpoint.startswith("tcp://") or not host:
        raise UsageError(
            f"cannot listen on {endpoint!r}", remedy="Give tcp://ADDRESS:PORT, such as tcp://127.0.0.1:*"
        )
    if not _loopback(host) and not allowed:
        raise UsageError(
            f"{endpoint} can be reached from other machines",
            why="no allow-list says who may connect",
            remedy="Add --allow FILE with one public key a line, or listen on 127.0.0.1",
        )


def secure_server(socket: Socket, keys: KeyPair) -> None:
    """Make a socket that is not yet bound speak CURVE as the server."""
    socket.curve_server = True
    socket.curve_secretkey = keys.secret.encode()
    socket.curve_publickey = keys.public.encode()
    socket.zap_domain = b"dawbridge"


def secure_client(socket: Socket, connection: Connection) -> None:
    """Make a socket that is not yet connected speak CURVE to the sidecar of `connection`."""
    socket.curve_serverkey = connection.server_key.encode()
    socket.curve_publickey = connection.client_public.encode()
    socket.curve_secretkey = connection.client_secret.encode()


class Gate:
    """Answers ZeroMQ's question (ZAP, RFC 27) whether a client's key may come in.

    Its `socket` belongs to the server's poll loop; one gate per context.
    """

    def __init__(self, context: Context, allowed: Collection[str]) -> None:
        self._allowed = frozenset(key.encode() for key in allowed)
        self.refused = 0
        self.socket: Socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.bind("inproc://zeromq.zap.01")

    def answer(self) -> None:
        """Answer every question that waits."""
        while True:
            try:
                frames = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            split = frames.index(b"") + 1 if b"" in frames else len(frames)
            question = frames[split:]
            if len(question) < 6:
                continue
            self.socket.send_multipart([*frames[:split], *self._verdict(question)])

    def close(self) -> None:
        """Stop answering; nobody can come in any more."""
        self.socket.close()

    def _verdict(self, question: list[bytes]) -> list[bytes]:
        version, request, _domain, _address, _identity, mechanism, *credentials = question
        key = z85.encode(credentials[0]) if credentials and len(credentials[0]) == 32 else b""
        welcome = mechanism == b"CURVE" and key in self._allowed
        if not welcome:
            self.refused += 1
        code, text = (b"200", b"OK") if welcome else (b"400", b"key is not on the allow-list")
        return [version, request, code, text, key if welcome else b"", b""]


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _damaged(path: Path, why: str) -> LinkError:
    return LinkError(
        f"key file {path} is damaged", why=why, remedy="Delete it; a new one is made at the next start"
    )
