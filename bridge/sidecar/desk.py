"""The front desk: what each message of a client means, and what it is answered."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence

import msgspec

from bridge.errors import ProtocolError
from bridge.sidecar import refusals
from bridge.sidecar.engine import Engine
from bridge.sidecar.jobs import Job, Result
from bridge.sidecar.peers import MAX_COMPLAINTS, Peer, Post
from bridge.sidecar.reports import session_report
from bridge.sidecar.session import Overrun, Session, Terms
from bridge.sidecar.settings import ServeSettings
from bridge.sidecar.takes import Shelf
from bridge.sidecar.workers import Workers
from bridge.wire import protocol as wire
from bridge.wire.codec import Buffer, decode_opening, decode_samples, decode_to_sidecar
from bridge.wire.connection import Connection
from bridge.wire.security import Gate, Socket

log = logging.getLogger(__name__)

Load = Callable[[Callable[[], Callable[[], None]]], None]


class Desk:
    """Receives every message on the loop's thread and keeps peers and sessions.

    Args:
        settings: limits.
        connection: who we are.
        socket: where answers go.
        gate: counts refused keys.
        engine: grants terms; asked through `load`, because it may take seconds.
        workers: do the jobs.
        load: runs a slow task beside the loop.
    """

    def __init__(
        self,
        settings: ServeSettings,
        connection: Connection,
        socket: Socket,
        gate: Gate,
        engine: Engine,
        workers: Workers,
        load: Load,
    ) -> None:
        self.post = Post(socket)
        self._settings, self._connection, self._gate = settings, connection, gate
        self._engine, self._workers, self._load = engine, workers, load
        self._shelf = None if settings.takes is None else Shelf(settings.takes)
        self._peers: dict[tuple[bytes, int], Peer] = {}
        self._sessions: dict[int, Peer] = {}
        self._numbers = itertools.count(1)
        self._born_s = time.monotonic()

    @property
    def busy(self) -> bool:
        """Whether anybody has or wants a session."""
        return bool(self._sessions) or any(peer.opening for peer in self._peers.values())

    def waiting(self) -> list[Peer]:
        """Peers to whom something could not be sent yet."""
        return [peer for peer in self._peers.values() if peer.outbox] if self.post.waiting else []

    def receive(self, frames: Sequence[bytes]) -> None:
        """One message as ZeroMQ gives it: identity, header, and for audio the samples."""
        self._receive(frames[0], 0, frames[1:])

    def deliver(self, results: Sequence[Result]) -> None:
        """Results of a worker: answer each session, end those that failed."""
        answers: list[tuple[Peer, wire.ToPlugin]] = []
        answered = []
        for result in results:
            peer = self._sessions.get(result.session)
            if peer is not None and peer.session is not None:
                answers += [(peer, events) for events in peer.session.answer(result)]
                answered.append((peer, peer.session, result.error))
        self.post.send_all(answers)
        for peer, session, error in answered:
            self._keep_takes(session)
            if error is not None:
                self._end(peer, refusals.failure(error))

    def check_liveness(self, now: float) -> None:
        """End the sessions of clients that are gone or silent."""
        silence = self._settings.heartbeat_ms * wire.MISSES / 1000
        gone, self.post.unreachable = self.post.unreachable, set()
        for peer in list(self._peers.values()):
            if peer.identity in gone:
                self._forget(peer)
            elif now - peer.heard_s > silence and not peer.opening:
                self._end(
                    peer, wire.Goodbye("silence", f"nothing was heard for {silence:g} s", "Say Hello again")
                )
                self._peers.pop((peer.identity, peer.line), None)

    def close(self, code: str, reason: str, remedy: str) -> None:
        """Say goodbye to everybody."""
        for peer in list(self._peers.values()):
            self._end(peer, wire.Goodbye(code, reason, remedy))
        if self._shelf is not None:
            self._shelf.close()

    def _receive(
        self, identity: bytes, line: int, frames: Sequence[Buffer], *, bundled: bool = False
    ) -> None:
        now = time.monotonic()
        key = identity, line
        peer = self._peers.get(key) or self._peers.setdefault(key, Peer(identity, line, now))
        peer.heard_s = now
        try:
            self._dispatch(peer, frames, bundled)
        except ProtocolError as error:
            self._complain(peer, error)
        except Overrun:
            reason = "more messages wait for an answer than the credit allows"
            self._end(peer, wire.Goodbye("credit", reason, "Wait for through_seq before sending more"))
        except Exception as error:
            log.exception("a message could not be handled")
            self._end(peer, refusals.failure(error))

    def _unbundle(self, peer: Peer, bundle: wire.Bundle, frames: Sequence[Buffer]) -> None:
        """Receive each message of a bundle as if it had come alone on its line."""
        samples = memoryview(frames[1] if len(frames) == 2 else b"")
        size = sum(item.size for item in bundle.items)
        if len(frames) > 2 or size != len(samples):
            raise ProtocolError(
                f"a bundle with {size} bytes of samples came with {sum(map(len, frames[1:]))}",
                remedy="Send the header and one frame with the samples of all its audio",
            )
        at = 0
        for item in bundle.items:
            piece = [samples[at : at + item.size]] if item.size else []
            at += item.size
            self._receive(peer.identity, item.line, [item.header, *piece], bundled=True)

    def _dispatch(self, peer: Peer, frames: Sequence[Buffer], bundled: bool) -> None:
        if not frames:
            raise ProtocolError("a message is empty", remedy="Send a header frame")
        header = bytes(frames[0])
        try:
            message = decode_to_sidecar(header)
        except ProtocolError:
            opening = decode_opening(header)  # a Hello of another protocol may look otherwise
            if opening is None or (refusal := refusals.of_version(opening.protocol)) is None:
                raise
            self.post.send(peer, refusal)
            return
        match message:
            case wire.Audio():
                self._audio(peer, message, frames)
            case wire.Ping():
                self._pong(peer, message)
            case wire.Flush():
                self._flush(peer, message)
            case wire.Hello():
                if (refusal := refusals.of_version(message.protocol)) is not None:
                    self.post.send(peer, refusal)
                    return
                self._hello(peer, message)
            case wire.Configure():
                self._configure(peer, message)
            case wire.Bundle():
                if bundled:
                    raise ProtocolError("a bundle lies in a bundle", remedy="Put in messages only")
                self._unbundle(peer, message, frames)
            case wire.Status():
                self.post.send(peer, self._report())
            case wire.Goodbye():
                self._forget(peer)
            case None:
                log.debug("ignored a message of unknown type")

    def _audio(self, peer: Peer, message: wire.Audio, frames: Sequence[Buffer]) -> None:
        session = peer.session
        if session is None:
            self._refuse_stranger(peer, "audio")
            return
        if len(frames) != 2:
            raise ProtocolError(
                f"audio came in {len(frames)} frames", remedy="Send the header and the samples"
            )
        samples, repaired = decode_samples(frames[1], session.hello.channels, message.samples)
        if repaired:
            if not session.counts.repaired:
                log.warning("session %d sends samples that are not finite; heard as silence", session.number)
            session.counts.repaired += repaired
        self._submit(session.hear(message, samples, time.perf_counter_ns()))

    def _flush(self, peer: Peer, message: wire.Flush) -> None:
        if peer.session is None:
            self._refuse_stranger(peer, "flush")
            return
        self._submit(peer.session.flush(message, time.perf_counter_ns()))

    def _submit(self, job: Job | None) -> None:
        if job is not None:
            self._workers.submit(job)

    def _pong(self, peer: Peer, message: wire.Ping) -> None:
        session, load = peer.session, self._workers.load
        if session is None:
            self.post.send(peer, wire.Pong(message.sent_ns, load=load))
            return
        counts = session.counts
        queue = session.outstanding
        self.post.send(peer, wire.Pong(message.sent_ns, queue, counts.late, counts.dropped, load))

    def _hello(self, peer: Peer, hello: wire.Hello) -> None:
        others = len(self._sessions) - (peer.session is not None)
        opening = sum(other.opening for other in self._peers.values() if other is not peer)
        if others + opening >= self._settings.max_sessions:
            self.post.send(peer, refusals.full(self._settings.max_sessions))
            return
        self._drop_session(peer)
        self._open(peer, hello, "hello")

    def _configure(self, peer: Peer, message: wire.Configure) -> None:
        if peer.session is None:
            self._refuse_stranger(peer, "configure")
            return
        changes = {name: value for name, value in _fields(message) if value is not msgspec.UNSET}
        if "presets" in changes:
            changes.setdefault("contents", "")  # names count again
        self._open(peer, msgspec.structs.replace(peer.session.hello, **changes), "configure")

    def _open(self, peer: Peer, hello: wire.Hello, about: str) -> None:
        """Have the terms granted beside the loop, then welcome or refuse."""
        if peer.opening:
            self.post.send(
                peer, wire.Refusal("busy", "the request before is not answered yet", "Wait", about)
            )
            return
        peer.opening = True

        def grant() -> Callable[[], None]:
            try:
                terms = self._engine.grant(hello)
            except Exception as error:
                refusal = refusals.of_error(error, about)
                return lambda: self._refused(peer, refusal)
            return lambda: self._granted(peer, hello, terms)

        self._load(grant)

    def _refused(self, peer: Peer, refusal: wire.Refusal) -> None:
        peer.opening = False
        self.post.send(peer, refusal)

    def _granted(self, peer: Peer, hello: wire.Hello, terms: Terms) -> None:
        peer.opening, peer.heard_s = False, time.monotonic()
        if self._peers.get((peer.identity, peer.line)) is not peer:
            return  # it left while we were loading
        if peer.session is not None:
            self._submit(peer.session.reconfigure(hello, terms, time.perf_counter_ns()))
        else:
            keeps_takes = self._shelf is not None
            peer.session = Session(next(self._numbers), hello, terms, keeps_takes=keeps_takes)
            peer.born_s = time.monotonic()
            self._sessions[peer.session.number] = peer
            log.info("session %d begins: %s %s", peer.session.number, hello.name, hello.track)
        self.post.send(peer, self._welcome(peer.session))

    def _welcome(self, session: Session) -> wire.Welcome:
        terms = session.terms
        return wire.Welcome(
            protocol=min(session.hello.protocol[1], wire.PROTOCOL[1]),
            epoch=self._connection.epoch,
            session=session.number,
            latency=terms.latency,
            credit=terms.credit,
            heartbeat_ms=self._settings.heartbeat_ms,
            alignment=terms.alignment,
            systems=terms.systems,
            weights=terms.weights,
            software=self._connection.software,
            instrument=terms.instrument,
            lines=min(wire.MAX_LINES, self._settings.max_sessions),
            contents=terms.contents,
        )

    def _report(self) -> wire.Report:
        now = time.monotonic()
        return wire.Report(
            protocol=wire.PROTOCOL,
            epoch=self._connection.epoch,
            pid=self._connection.pid,
            software=self._connection.software,
            uptime_s=now - self._born_s,
            load=self._workers.load,
            systems=self._engine.systems,
            refused=self._gate.refused,
            sessions=tuple(
                session_report(peer.session, now - peer.born_s)
                for peer in self._sessions.values()
                if peer.session is not None
            )[: wire.MAX_SESSIONS],
        )

    def _end(self, peer: Peer, goodbye: wire.Goodbye) -> None:
        """Release what sounds at the client, say why, forget the session."""
        if peer.session is not None:
            events = peer.session.release()
            if events.notes or events.controls:
                self.post.send(peer, events)
            self.post.send(peer, goodbye)
            log.info("session %d ends: %s", peer.session.number, goodbye.reason)
        self._drop_session(peer)

    def _forget(self, peer: Peer) -> None:
        self._drop_session(peer)
        self._peers.pop((peer.identity, peer.line), None)

    def _drop_session(self, peer: Peer) -> None:
        if peer.session is not None:
            self._keep_takes(peer.session, ended=True)
            self._workers.submit(peer.session.leave(time.perf_counter_ns()))
            self._sessions.pop(peer.session.number, None)
            peer.session = None

    def _keep_takes(self, session: Session, *, ended: bool = False) -> None:
        if self._shelf is not None:
            for take in session.takes(ended=ended):
                self._shelf.keep(take, session.terms.voicing, session.hello.track or session.hello.name)

    def _refuse_stranger(self, peer: Peer, about: str) -> None:
        if peer.broken < MAX_COMPLAINTS and not peer.opening:
            self.post.send(peer, refusals.stranger(about))
        peer.broken += 1

    def _complain(self, peer: Peer, error: ProtocolError) -> None:
        peer.broken += 1
        if peer.broken <= MAX_COMPLAINTS:
            log.warning("a client breaks the protocol: %s", error)
            self.post.send(peer, refusals.of_error(error, "message"))


def _fields(message: wire.Configure) -> list[tuple[str, object]]:
    return [(name, getattr(message, name)) for name in message.__struct_fields__]
