"""Secure by default: only known keys come in, nothing is readable on the way, secrets stay private."""

from __future__ import annotations

import os
import socket
import stat
import sys
import threading

import msgspec
import numpy as np
import pytest
import zmq

from bridge.errors import LinkError, OutputError, SidecarMissing, UsageError
from bridge.wire import protocol as wire
from bridge.wire.client import Client, status
from bridge.wire.connection import RunLock, connection_file, read_connection, write_connection
from bridge.wire.folders import data_folder, runtime_folder
from bridge.wire.link import State
from bridge.wire.security import check_endpoint, key_pair, keys_folder, read_allow_list
from tests.host.raw import HELLO, Raw


def stranger_of(connection):
    public, secret = zmq.curve_keypair()
    return msgspec.structs.replace(connection, client_public=public.decode(), client_secret=secret.decode())


def test_the_local_key_is_welcome_and_a_random_key_is_not(serve):
    connection = serve().connection
    with Raw(stranger_of(connection)) as raw:
        raw.send(wire.Status())
        assert raw.receive(0.5) is None
    assert status(connection).refused >= 1


def test_a_wrong_server_key_gets_no_answer(serve):
    connection = serve().connection
    other = zmq.curve_keypair()[0].decode()
    with Raw(msgspec.structs.replace(connection, server_key=other)) as raw:
        raw.send(wire.Status())
        assert raw.receive(0.5) is None
    assert status(connection).epoch == connection.epoch


def test_a_client_without_encryption_gets_no_answer(serve):
    connection = serve().connection
    with Raw(connection, secure=lambda socket, connection: None) as raw:
        raw.send(wire.Status())
        assert raw.receive(0.5) is None
    assert status(connection).epoch == connection.epoch


def test_a_client_that_speaks_no_zeromq_does_no_harm(serve):
    connection = serve().connection
    host, port = connection.endpoint.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port))) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n" + os.urandom(4096))
    assert status(connection).epoch == connection.epoch


def test_keys_of_the_allow_list_are_welcome(serve, tmp_path):
    public, secret = (key.decode() for key in zmq.curve_keypair())
    allow = tmp_path / "allowed"
    allow.write_text(f"# studio\n\n{public} laptop in the live room\n")
    connection = serve(allow=allow).connection
    guest = msgspec.structs.replace(connection, client_public=public, client_secret=secret)
    assert status(guest).refused == 0
    assert status(connection).refused == 0


class Eavesdropper:
    """Forwards one TCP connection and keeps every byte."""

    def __init__(self, endpoint):
        host, port = endpoint.removeprefix("tcp://").split(":")
        self.target = host, int(port)
        self.bytes = bytearray()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def _accept(self):
        near, _ = self.listener.accept()
        far = socket.create_connection(self.target)
        both = [threading.Thread(target=self._forward, args=pair) for pair in ((near, far), (far, near))]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        near.close()
        far.close()

    def _forward(self, source, sink):
        try:
            while data := source.recv(65_536):
                self.bytes += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.threads[0].join(5)
        self.listener.close()


def test_an_eavesdropper_sees_nothing(serve):
    connection = serve().connection
    spy = Eavesdropper(connection.endpoint)
    audio = np.full((1, 512), 0.123, np.float32)
    with Raw(msgspec.structs.replace(connection, endpoint=spy.endpoint)) as raw:
        raw.hello(msgspec.structs.replace(HELLO, name="A secret name"))
        raw.audio(0, audio)
        assert raw.expect(wire.Events).through_seq == 1
    spy.close()
    assert len(spy.bytes) > audio.nbytes, "the spy did listen"
    for plain in (b"secret", b"hello", b"audio", b"through_seq", audio.tobytes()[:16]):
        assert plain not in spy.bytes


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_private_and_appear_at_one_stroke(serve):
    umask = os.umask(0)
    try:
        serve()
    finally:
        os.umask(umask)
    assert mode(connection_file()) == 0o600
    assert [mode(path) for path in sorted(keys_folder().iterdir())] == [0o600, 0o600]
    assert mode(runtime_folder()) == mode(keys_folder()) == 0o700
    assert not list(runtime_folder().glob("*.part")) + list(data_folder().rglob("*.part"))


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the rule of Linux")
def test_the_runtime_folder_is_where_the_specification_says(monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/somewhere")
    assert str(runtime_folder()).endswith("/run"), "the override wins"
    monkeypatch.delenv("DAWBRIDGE_RUNTIME_DIR")
    assert str(runtime_folder()) == "/run/somewhere/dawbridge"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    for there, folder in ((True, "/run/user/12345/dawbridge"), (False, "/tmp/dawbridge-12345")):
        monkeypatch.setattr("os.getuid", lambda: 12_345)
        monkeypatch.setattr("pathlib.Path.is_dir", lambda path, there=there: there)
        assert str(runtime_folder()) == folder


def test_keys_last_and_epochs_do_not(serve):
    first = serve()
    first.stop()
    second = serve()
    assert first.connection.server_key == second.connection.server_key
    assert first.connection.client_public == second.connection.client_public
    assert first.connection.epoch != second.connection.epoch


def test_a_key_that_others_can_read_is_refused():
    key_pair("server")
    (keys_folder() / "server.json").chmod(0o644)
    with pytest.raises(LinkError, match="chmod 600"):
        key_pair("server")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"public": "a", "secret": "b"}', b"\xff\xfe"])
def test_a_damaged_key_is_named(content):
    key_pair("server")
    (keys_folder() / "server.json").write_bytes(content)
    with pytest.raises(LinkError, match=r"server\.json is damaged"):
        key_pair("server")


def test_keys_that_do_not_belong_together_are_refused():
    pair, other = key_pair("a"), key_pair("b")
    mixed = msgspec.json.encode({"public": pair.public, "secret": other.secret})
    (keys_folder() / "a.json").write_bytes(mixed)
    with pytest.raises(LinkError, match="belong together"):
        key_pair("a")


def test_a_folder_that_others_can_write_is_refused(serve, tmp_path):
    (tmp_path / "run").mkdir(mode=0o700)
    (tmp_path / "run").chmod(0o777)
    with pytest.raises(OutputError, match="not private"):
        serve()


def test_an_unwritable_folder_is_named(serve, tmp_path):
    (tmp_path / "run").write_text("a file where a folder should be")
    with pytest.raises(OutputError, match="run"):
        serve()


def test_a_full_disk_is_named_and_leaves_nothing(serve, tmp_path, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bridge.wire.folders.os.open", full)
    with pytest.raises(OutputError, match="No space left"):
        serve()
    assert not list(tmp_path.rglob("*.json")) + list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1:*", "tcp://127.0.0.2:5", "tcp://[::1]:5", "tcp://localhost:5"]
)
def test_loopback_needs_no_allow_list(endpoint):
    check_endpoint(endpoint, ())


@pytest.mark.parametrize(
    "endpoint", ["tcp://*:5555", "tcp://0.0.0.0:5", "tcp://192.168.1.2:5", "tcp://[::]:5", "tcp://eth0:5"]
)
def test_other_machines_need_an_allow_list(endpoint):
    with pytest.raises(UsageError, match="allow"):
        check_endpoint(endpoint, ())
    check_endpoint(endpoint, {"a key"})


@pytest.mark.parametrize("endpoint", ["", "127.0.0.1:5", "ipc:///tmp/x", "tcp://", "udp://127.0.0.1:5"])
def test_other_endpoints_are_refused(endpoint):
    with pytest.raises(UsageError):
        check_endpoint(endpoint, {"a key"})


def test_a_port_that_is_taken_is_named(serve, tmp_path):
    taken = serve().connection.endpoint
    with pytest.raises(LinkError, match=taken.replace("/", r"\/")):
        serve(listen=taken, runtime_folder=tmp_path / "other")
    assert not (tmp_path / "other" / "connection.json").exists()


def test_a_bad_allow_list_is_named(tmp_path):
    with pytest.raises(UsageError, match="nowhere"):
        read_allow_list(tmp_path / "nowhere")
    (tmp_path / "bad").write_text("tooshort\n")
    with pytest.raises(UsageError, match="tooshort"):
        read_allow_list(tmp_path / "bad")


def test_one_sidecar_a_folder(serve):
    first = serve()
    with pytest.raises(LinkError, match="already running"):
        serve()
    assert read_connection() == first.connection, "the running one is not disturbed"


def test_the_lock_is_free_after_release():
    lock = RunLock()
    with pytest.raises(LinkError):
        RunLock()
    lock.release()
    RunLock().release()


def test_connection_files_that_lead_nowhere_are_explained(serve):
    with pytest.raises(SidecarMissing, match="dawbridge serve"):
        read_connection()
    sidecar = serve()
    connection = read_connection()
    sidecar.stop()
    with pytest.raises(SidecarMissing):
        read_connection()
    write_connection(msgspec.structs.replace(connection, pid=2**22 + 1))
    with pytest.raises(SidecarMissing, match="left behind"):
        read_connection()
    write_connection(connection)
    connection_file().write_text("{")
    with pytest.raises(SidecarMissing, match="damaged"):
        read_connection()
    connection_file().chmod(0o644)
    with pytest.raises(LinkError, match="chmod"):
        read_connection()


def test_the_connection_file_of_a_successor_is_not_removed(serve):
    sidecar = serve()
    successor = msgspec.structs.replace(sidecar.connection, epoch=sidecar.connection.epoch + 1)
    write_connection(successor)
    sidecar.stop()
    assert read_connection() == successor


def test_status_of_nobody_is_an_error_in_time(serve):
    sidecar = serve()
    sidecar.stop()
    with pytest.raises(SidecarMissing, match="does not answer"):
        status(sidecar.connection, timeout_s=0.2)


def test_a_client_with_the_wrong_key_is_told(serve):
    connection = serve().connection
    client = Client(48_000, 1, connection=stranger_of(connection))
    try:
        with pytest.raises(SidecarMissing):
            client.wait_ready(0.5)
        assert client.state is not State.READY
    finally:
        client.close()
