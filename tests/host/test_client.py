"""The client survives the sidecar: it panics, finds it again, and nothing it played hangs."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import msgspec
import numpy as np
import pytest

from bridge.errors import LinkError, ProtocolError, Refused, SidecarMissing
from bridge.sidecar.bench import round_trip
from bridge.wire import protocol as wire
from bridge.wire.client import Client, status
from bridge.wire.connection import connection_file
from bridge.wire.link import Link, State
from bridge.wire.sounding import Sounding
from inference.events import Events
from tests.fakes import ClickTranscriber, clicks
from tests.host.raw import HELLO, Raw

RATE = 48_000


class Books:
    """What a synthesizer behind the client would be playing."""

    def __init__(self):
        self.sounding, self.pedals, self.struck = set(), {}, 0

    def take(self, messages):
        for message in messages:
            for note in message.notes:
                if isinstance(note, wire.NoteOn):
                    self.sounding.add(note.note)
                    self.struck += 1
                else:
                    self.sounding.discard(note.note)
            for control in message.controls:
                self.pedals[control.controller, control.channel] = control.value

    @property
    def silent(self):
        return not self.sounding and not any(self.pedals.values())


def sidecar_process(*arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.host.serving", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout.readline() == "ready\n"
    return process


@contextmanager
def processes():
    """Starts sidecar processes; those still alive are killed at the end, by their own handles."""
    started = []

    def start(*arguments):
        started.append(sidecar_process(*arguments))
        return started[-1]

    try:
        yield start
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.wait(10)
            process.stdout.close()


def play(client, books, seconds, *, at_s=0.1):
    """Live, as fast as credit allows: a click, then silence."""
    audio = clicks([int(at_s * RATE)], int(seconds * RATE), RATE)
    for start in range(0, audio.shape[1], 480):
        client.offer(audio[:, start : start + 480])
        books.take(client.receive(0.005))


def until(condition, timeout_s, pump=lambda: None):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, "it never came true"
        pump()
        time.sleep(0.005)
    return time.monotonic() - began


def test_a_killed_sidecar_is_noticed_released_and_found_again(private_folders):
    with processes() as start:
        first = start()
        with Client(RATE, 1, max_block=480) as client:
            books = Books()
            play(client, books, 0.4)
            assert books.sounding and client.sounding == 1
            epoch = client.welcome.epoch
            first.send_signal(signal.SIGKILL)
            first.wait()
            assert connection_file().exists(), "the killed one could not clean up"
            took = until(lambda: books.silent, 4.0, lambda: books.take(client.receive(0.01)))
            assert took < 3.0 and client.losses == 1
            assert not client.offer(np.zeros((1, 480), np.float32)), "nobody hears"
            start()
            took = until(lambda: client.state is State.READY, 2.0)
            assert client.welcome.epoch != epoch
            play(client, books, 0.4)
            assert len(books.sounding) == 1, "the new sidecar hears"
            client.close()
            books.take(client.receive())
            assert books.silent and books.struck == 2


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_ends_the_sidecar_cleanly(private_folders, number):
    with processes() as start:
        process = start()
        with Client(RATE, 1, max_block=480) as client:
            books = Books()
            play(client, books, 0.4)
            assert books.sounding
            process.send_signal(number)
            until(lambda: books.silent, 2.0, lambda: books.take(client.receive(0.01)))
        assert process.wait(5) == 0 and process.stdout.read() == "stopped\n"
        assert not connection_file().exists()


def test_once_ends_with_its_last_client(serve):
    sidecar = serve(once=True, once_wait_s=0.3)
    with Client(RATE, 1), Client(RATE, 1):
        time.sleep(0.6)
        assert sidecar.thread.is_alive()
    sidecar.thread.join(3)
    assert not sidecar.thread.is_alive() and not connection_file().exists()


def test_once_does_not_wait_forever_for_its_first_client(serve):
    sidecar = serve(once=True, once_first_s=0.2)
    sidecar.thread.join(3)
    assert not sidecar.thread.is_alive()


def test_a_client_waits_for_a_sidecar_that_comes_later(serve):
    client = Client(RATE, 1)
    try:
        with pytest.raises(SidecarMissing, match="dawbridge serve"):
            client.wait_ready(0.3)
        serve()
        until(lambda: client.state is State.READY, 2.0)
        assert client.losses == 0
    finally:
        client.close()


def test_a_stopping_sidecar_releases_and_the_next_is_found(serve):
    first = serve()
    with Client(RATE, 1, max_block=480) as client:
        first.stop()
        until(lambda: client.state is State.LOST, 1.0)
        assert "stops" in str(client.loss)
        serve()
        until(lambda: client.state is State.READY, 2.0)


def test_a_refused_client_says_why(serve):
    serve()
    with pytest.raises(Refused, match="live"), Client(RATE, 1, presets=("lvie",)):
        pass


def test_a_full_sidecar_is_tried_again(serve):
    connection = serve(max_sessions=1).connection
    with Raw(connection) as raw:
        raw.hello()
        client = Client(RATE, 1)
        try:
            time.sleep(0.2)
            assert client.state is not State.READY and "taken" in str(client.trouble)
            raw.send(wire.Goodbye())
            until(lambda: client.state is State.READY, 3.0)
        finally:
            client.close()


def test_configure_takes_effect_and_survives_a_loss(serve):
    first = serve()
    with Client(RATE, 1) as client:
        before = client.welcome.latency.total
        client.configure(wire.Configure(presets=("balanced",)))
        until(lambda: client.welcome.latency.total > before, 2.0)
        first.stop()
        second = serve()
        until(lambda: client.state is State.READY, 2.0)
        assert status(second.connection).sessions[0].presets == ("balanced",)


def test_offline_nothing_is_lost_and_blocks_may_be_long(serve):
    sidecar = serve()
    audio = clicks(list(range(4_800, 470_000, 9_600)), 480_000, RATE, 2)
    with Client(RATE, 2, max_block=8192, offline=True) as client:
        client.send(audio)
        events = client.flush("end")
        onsets = [n.time for e in events for n in e.notes if isinstance(n, wire.NoteOn)]
        assert len(onsets) == 49 and client.dropped == 0
        assert events[-1].final_until == 480_000
        (session,) = status(sidecar.connection).sessions
        assert session.late == session.dropped == session.gaps == 0 and session.sounding == 0


def test_offline_a_lost_sidecar_is_an_error_not_a_gap(serve):
    sidecar = serve()
    with Client(RATE, 1, offline=True) as client:
        client.send(np.zeros((1, 4_800), np.float32))
        client.flush()
        sidecar.stop()
        serve()
        with pytest.raises(LinkError, match="stops"):
            for _ in range(100):
                client.send(np.zeros((1, 4_800), np.float32))
                client.flush()
        client.send(np.zeros((1, 480), np.float32))
        client.flush()


def test_offline_without_an_answer_ends_in_time(serve):
    class Slow(ClickTranscriber):
        def step(self, audio, states):
            time.sleep(1.0)
            return super().step(audio, states)

    serve(make_transcriber=lambda preset: Slow())
    with Client(RATE, 1, offline=True) as client:
        client.send(np.zeros((1, 9_600), np.float32))
        with pytest.raises(SidecarMissing, match=r"0\.1 s"):
            client.flush(timeout_s=0.1)


def test_live_a_full_ring_drops_the_newest_and_counts(serve):
    class Slow(ClickTranscriber):
        def step(self, audio, states):
            time.sleep(0.2)
            return super().step(audio, states)

    serve(make_transcriber=lambda preset: Slow())
    with Client(RATE, 1, max_block=4_800) as client:
        taken = [client.offer(np.zeros((1, 4_800), np.float32)) for _ in range(60)]
        assert taken[0] and not taken[-1] and client.dropped == taken.count(False) > 10
        assert client.position == 60 * 4_800, "time goes on"


def test_wrong_shapes_are_refused(serve):
    serve()
    with Client(RATE, 2) as client:
        for audio in (np.zeros((1, 5), np.float32), np.zeros(5, np.float32)):
            with pytest.raises(ProtocolError, match=r"\(2, samples\)"):
                client.offer(audio)
            with pytest.raises(ProtocolError):
                client.send(audio)


def test_the_link_survives_nonsense_from_the_sidecar():
    link = Link(HELLO, lambda: (_ for _ in ()).throw(SidecarMissing("nobody")))
    link.pump()
    assert link.state is State.LOST and link.trouble is not None
    link.close()


def test_keys_that_are_no_keys_are_a_missing_sidecar(serve):
    broken = msgspec.structs.replace(serve().connection, server_key="not a key")
    link = Link(HELLO, lambda: broken)
    link.pump()
    assert link.state is State.LOST and isinstance(link.trouble, SidecarMissing)
    link.close()


def test_sounding_counts_what_is_owed():
    sounding = Sounding()
    sounding.follow(
        wire.Events(
            1, 10, (wire.NoteOn(5, 60, 0.5, 1), wire.NoteOn(6, 61, 0.5, 2), wire.NoteOff(7, 60, 0.5, 1))
        )
    )
    sounding.follow(wire.Events(2, 20, (), (wire.Control(8, 64, 0.7), wire.Control(9, 66, 0.0))))
    assert len(sounding) == 1 and sounding.pedals == 1
    notes, controls = sounding.release(4)
    assert notes == (wire.NoteOff(6, 61, 0.0, 2),) and controls == (wire.Control(4, 64, 0.0),)
    assert len(sounding) == 0 and sounding.release(9) == ((), ())


FATES = {"send": 60, "drop": 4, "delay": 6, "twice": 6, "stop": 3, "seek": 3, "flush": 2, "skip": 2}


class Forgetful(ClickTranscriber):
    """Never releases anything at its end: the session has to."""

    def finish(self, state):
        return Events(state.heard)


def test_chaos_leaves_nothing_sounding(serve):
    """Blocks dropped, delayed, repeated, reordered; stop, loop, seek, flush; and clicks that never end."""
    dice = random.Random(7)
    transcriber = Forgetful(hold=10**9, scale=12)
    sidecar = serve(make_transcriber=lambda preset: transcriber)
    books, delayed, start, position, playing = Books(), [], 0, 0, True
    with Raw(sidecar.connection) as raw:
        credit = raw.hello().credit
        through, seq = 0, 0

        def hear(timeout_s):
            nonlocal through
            if isinstance(message := raw.receive(timeout_s), wire.Events):
                through = max(through, message.through_seq)
                books.take([message])

        for _ in range(600):
            size = dice.randint(1, 512)
            audio = (
                clicks([size // 2], size, RATE) if dice.random() < 0.2 else np.zeros((1, size), np.float32)
            )
            if dice.random() < 0.1:
                audio = -audio  # a downward click moves the pedal
            transport = wire.Transport(playing, position=position)
            seq += 1
            block = wire.Audio(seq, start, size, transport), audio.tobytes()
            start, position = start + size, position + size
            match dice.choices(
                ["send", "drop", "delay", "twice", "stop", "seek", "flush", "skip"], [60, 4, 6, 6, 3, 3, 2, 2]
            )[0]:
                case "send":
                    raw.send(*block)
                case "twice":
                    raw.send(*block)
                    raw.send(*block)
                case "delay":
                    delayed.append(block)
                case "stop":
                    playing = not playing
                    raw.send(*block)
                case "seek":
                    position = dice.randint(0, 10**6)
                case "flush":
                    raw.send(wire.Flush(seq, "seek"))
                case "skip":
                    start += dice.randint(1, 40_000)
            if delayed and dice.random() < 0.3:
                raw.send(*delayed.pop(dice.randrange(len(delayed))))
            while seq - through > credit // 2:
                before = through
                hear(0.2)
                if through == before:
                    break
        raw.send(wire.Flush(seq + 1, "end"))
        until(lambda: through > seq, 5.0, lambda: hear(0.1))
        assert books.struck > 20, "there was something to release"
        assert books.silent
        (session,) = status(sidecar.connection).sessions
        assert session.sounding == 0 and session.queue == 0
        assert session.duplicates > 0 and session.gaps > 0


def test_sixteen_clients_at_once(serve):
    serve()
    clients = [Client(RATE, 1, max_block=480, track=f"Track {n}") for n in range(16)]
    try:
        for client in clients:
            client.wait_ready()
        audio = clicks([4_800, 12_000], 19_200, RATE)
        for begin in range(0, 19_200, 480):
            for client in clients:
                assert client.offer(audio[:, begin : begin + 480])
        for client in clients:
            notes = [n for e in client.flush() for n in e.notes]
            assert [type(n).__name__ for n in notes] == ["NoteOn", "NoteOff"] * 2
        report = status()
        assert sorted(s.track for s in report.sessions) == sorted(f"Track {n}" for n in range(16))
    finally:
        for client in clients:
            client.close()
    until(lambda: not status().sessions, 2.0)


def test_the_round_trip_is_measured():
    quantiles = round_trip(50, 128, RATE)
    assert list(quantiles) == [0.5, 0.9, 0.99, 1.0]
    assert 0 < quantiles[0.5] <= quantiles[0.9] <= quantiles[0.99] <= quantiles[1.0]
    assert quantiles[0.5] < 10, "a block comes back within milliseconds, even on a busy machine"
