"""The sidecar's poll loop: sockets, liveness, routing. Knows no music and no tensors."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from queue import Empty, SimpleQueue
from types import FrameType

import zmq

from bridge.errors import EngineError, LinkError
from bridge.sidecar.desk import Desk
from bridge.sidecar.engine import Engine, advance
from bridge.sidecar.jobs import Result
from bridge.sidecar.player import Piece
from bridge.sidecar.settings import ServeSettings
from bridge.sidecar.workers import Workers, default_workers
from bridge.wire import protocol as wire
from bridge.wire.bell import Bell
from bridge.wire.connection import Connection, RunLock, remove_connection, write_connection
from bridge.wire.security import (
    Gate,
    Socket,
    check_endpoint,
    key_pair,
    read_allow_list,
    secure_server,
)

log = logging.getLogger(__name__)

BURST = 64
"""Messages read before results get their turn."""
RETRY_MS = 10
TICK_MS = 100
HIGH_WATER = 1024
FAREWELL_MS = 300


def serve(settings: ServeSettings, on_ready: Callable[[Connection], None]) -> None:
    """Run a sidecar until SIGINT, SIGTERM, or the end of its last client.

    Args:
        settings: what to serve.
        on_ready: called when plug-ins can connect.
    """
    server = Server(settings)
    with _stopped_by_signals(server):
        server.run(on_ready)


class Server:
    """A sidecar: one ROUTER socket and its gate on this thread, the workers, one loader."""

    def __init__(self, settings: ServeSettings) -> None:
        piece = None if settings.play is None else Piece.read(settings.play)
        self.settings = settings
        self.bell = Bell()
        self._stop = threading.Event()
        self._news: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._engine = Engine(settings.presets, settings.load_preset, settings.make_transcriber, piece)
        self._workers = Workers(settings.workers or default_workers(), self._deliver, advance)
        self._loader = ThreadPoolExecutor(1, "dawbridge-loader")
        self._served = False
        self._alone_since = time.monotonic()

    def stop(self) -> None:
        """End the loop, from any thread or from a signal."""
        self._stop.set()
        self.bell.ring()

    def run(self, on_ready: Callable[[Connection], None]) -> None:
        """Open, warm up, tell `on_ready`, serve until `stop`; leaves nothing behind."""
        settings = self.settings
        with ExitStack() as stack:
            stack.callback(self.bell.close)
            stack.callback(self._loader.shutdown, cancel_futures=True)
            allowed = frozenset[str]() if settings.allow is None else read_allow_list(settings.allow)
            check_endpoint(settings.listen, allowed)
            lock = RunLock(settings.runtime_folder)
            stack.callback(lock.release)
            self._workers.start()
            stack.callback(self._workers.stop)
            self._warm_up(stack)
            if self._stop.is_set():
                return
            context: zmq.Context[Socket] = zmq.Context()
            stack.callback(context.term)
            connection = self._open(context, allowed, stack)
            write_connection(connection, settings.runtime_folder)
            stack.callback(remove_connection, connection.epoch, settings.runtime_folder)
            on_ready(connection)
            self._alone_since = time.monotonic()
            self._loop()

    def _open(self, context: zmq.Context[Socket], allowed: frozenset[str], stack: ExitStack) -> Connection:
        folder = self.settings.data_folder
        server_keys = key_pair("server", folder and folder / "keys")
        client_keys = key_pair("client", folder and folder / "keys")
        self._gate = Gate(context, allowed | {client_keys.public})
        stack.callback(self._gate.close)
        self._socket: Socket = context.socket(zmq.ROUTER)
        stack.callback(self._socket.close, linger=FAREWELL_MS)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._socket.setsockopt(zmq.MAXMSGSIZE, wire.MAX_MESSAGE)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
        self._socket.setsockopt(zmq.RCVHWM, HIGH_WATER)
        self._socket.setsockopt(zmq.IPV6, int("[" in self.settings.listen))
        secure_server(self._socket, server_keys)
        try:
            self._socket.bind(self.settings.listen)
        except zmq.ZMQError as error:
            raise LinkError(
                f"cannot listen on {self.settings.listen}",
                why=error.strerror or str(error),
                remedy="Choose another port, or tcp://127.0.0.1:* for any free one",
            ) from error
        connection = Connection(
            endpoint=self._socket.getsockopt_string(zmq.LAST_ENDPOINT),
            server_key=server_keys.public,
            client_public=client_keys.public,
            client_secret=client_keys.secret,
            protocol=wire.PROTOCOL,
            pid=os.getpid(),
            epoch=secrets.randbelow(2**53 - 1) + 1,
            software=software(),
        )
        self._desk = Desk(
            self.settings, connection, self._socket, self._gate, self._engine, self._workers, self._load
        )
        return connection

    def _loop(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._gate.socket, zmq.POLLIN)
        poller.register(self.bell.descriptor, zmq.POLLIN)
        checked = time.monotonic()
        while not self._stop.is_set():
            ready = dict(poller.poll(RETRY_MS if self._desk.post.waiting else TICK_MS))
            if self._gate.socket in ready:
                self._gate.answer()
            if self.bell.descriptor in ready:
                self.bell.silence()
                self._drain_news()
            drained = self._socket not in ready or self._drain_socket()
            self._desk.post.retry(self._desk.waiting())
            now = time.monotonic()
            if drained and now - checked > TICK_MS / 1000:
                checked = now
                self._desk.check_liveness(now)
                self._check_once(now)
        self._desk.close("shutdown", "the sidecar stops", "Start it again with: dawbridge serve")

    def _drain_socket(self) -> bool:
        """Read at most a burst; whether that was all."""
        for _ in range(BURST):
            try:
                frames = self._socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return True
            self._desk.receive(frames)
        return False

    def _drain_news(self) -> None:
        while True:
            try:
                news = self._news.get_nowait()
            except Empty:
                return
            try:
                news()
            except Exception:  # one session's trouble; the others go on
                log.exception("a result could not be handled")

    def _tell(self, news: Callable[[], None]) -> None:
        """Have something done on the loop's thread."""
        self._news.put(news)
        self.bell.ring()

    def _deliver(self, results: list[Result]) -> None:
        self._tell(lambda: self._desk.deliver(results))

    def _load(self, task: Callable[[], Callable[[], None]]) -> None:
        """Run a slow task beside the loop; what it returns is then done on the loop's thread."""
        self._loader.submit(lambda: self._tell(task()))

    def _warm_up(self, stack: ExitStack) -> None:
        """Load and run the default system on the workers' threads, before anybody can ask for it."""
        finished: SimpleQueue[BaseException | None] = SimpleQueue()

        def warm() -> None:
            try:
                self._engine.prepare(self.settings.threads, self.settings.warm_up)
            except Exception as error:
                finished.put(error)
            else:
                finished.put(None)

        self._workers.call(warm)
        for _ in range(len(self._workers)):
            while True:
                try:
                    failed = finished.get(timeout=0.1)
                    break
                except Empty:
                    if self._stop.is_set():
                        return
            if failed is not None:
                raise _warm_up_error(failed)
        if self.settings.freeze:
            gc.collect()
            gc.freeze()
            stack.callback(gc.unfreeze)

    def _check_once(self, now: float) -> None:
        if self._desk.busy:
            self._served, self._alone_since = True, now
        patience = self.settings.once_wait_s if self._served else self.settings.once_first_s
        if self.settings.once and now - self._alone_since > patience:
            self._stop.set()


def software() -> str:
    """Name and version of this package, for people."""
    try:
        return f"dawbridge {version('dawbridge')}"
    except PackageNotFoundError:
        return "dawbridge (not installed)"


def _warm_up_error(error: BaseException) -> BaseException:
    if isinstance(error, (LinkError, EngineError)) or hasattr(error, "remedy"):
        return error
    return EngineError(
        "the system does not run", why=str(error) or type(error).__name__, remedy="Run: dawbridge doctor"
    )


@contextmanager
def _stopped_by_signals(server: Server) -> Iterator[None]:
    """SIGINT and SIGTERM end the loop; only the main thread may ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    wakeup = signal.set_wakeup_fd(server.bell.wakeup_descriptor, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
