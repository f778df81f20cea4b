"""The sidecar answers what it should, refuses the rest with a remedy; one client's fault stays its own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
from torch import Tensor

from bridge.errors import EngineError, PresetError
from bridge.sidecar.settings import ServeSettings
from bridge.wire import protocol as wire
from bridge.wire.client import Client, status
from bridge.wire.codec import decode_to_plugin, encode, encode_samples
from inference.pipeline import Stream, advance
from tests.fakes import ClickTranscriber, clicks
from tests.host.raw import HELLO, Raw

RATE = 48_000


def eventually(condition, timeout_s=5.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def notes_of(messages):
    return [note for message in messages for note in message.notes]


def test_a_session_from_hello_to_goodbye(serve):
    sidecar = serve()
    with Raw(sidecar.connection) as raw:
        welcome = raw.hello(msgspec.structs.replace(HELLO, name="Keys", track="Piano left"))
        assert welcome.protocol == 1 and welcome.epoch == sidecar.connection.epoch
        assert welcome.systems == ("piano",) and len(welcome.instrument.velocities) == 128
        raw.silence(0)
        assert raw.expect(wire.Events).through_seq == 1
        report = status(sidecar.connection)
        (session,) = report.sessions
        assert (session.name, session.track, session.rate, session.blocks) == ("Keys", "Piano left", RATE, 1)
        assert report.pid == os.getpid() and report.systems == ("piano",)
        raw.send(wire.Goodbye())
        eventually(lambda: not status(sidecar.connection).sessions)


def test_the_promised_latency_is_the_sum_of_its_parts(serve):
    with Raw(serve().connection) as raw:
        latency = raw.hello().latency
    parts = Stream(ClickTranscriber(), RATE, 1, chunk_ms=20).latency
    assert latency == wire.Latency(512, parts.resampler, parts.network, parts.chunk, RATE // 50)
    assert latency.total == 512 + parts.total + 960


def test_ping_needs_no_session_and_is_echoed(serve):
    with Raw(serve().connection) as raw:
        raw.send(wire.Ping(12_345))
        assert raw.expect(wire.Pong).sent_ns == 12_345


@pytest.mark.parametrize(
    ("versions", "remedy"), [((2, 3), "Update dawbridge"), ((0, 0), "Update the plug-in")]
)
def test_other_protocols_are_refused_with_a_remedy(serve, versions, remedy):
    with Raw(serve().connection) as raw:
        raw.raw(msgspec.msgpack.encode({"type": "hello", "protocol": versions, "rate": "as we agreed"}))
        refusal = raw.expect(wire.Refusal)
        assert refusal.code == "version" and remedy in refusal.remedy


def test_a_plug_in_that_also_speaks_newer_protocols_is_welcome(serve):
    with Raw(serve().connection) as raw:
        assert raw.hello(msgspec.structs.replace(HELLO, protocol=(1, 5))).protocol == 1


def test_unknown_presets_are_refused_with_a_remedy(serve):
    with Raw(serve().connection) as raw:
        raw.send(msgspec.structs.replace(HELLO, presets=("lvie",)))
        refusal = raw.expect(wire.Refusal)
        assert refusal.code == "preset" and "live" in refusal.remedy
        raw.hello()


def test_a_system_that_cannot_be_opened_is_refused(serve):
    def make(preset):
        if preset.name != "live":
            raise FileNotFoundError("no weights")
        return ClickTranscriber()

    with Raw(serve(make_transcriber=make).connection) as raw:
        raw.send(msgspec.structs.replace(HELLO, presets=("balanced",)))
        refusal = raw.expect(wire.Refusal)
        assert refusal.code == "system" and "no weights" in refusal.message and refusal.remedy
        raw.hello()


def test_a_sidecar_whose_system_does_not_load_does_not_start(serve, tmp_path):
    def make(preset):
        raise RuntimeError("weights are damaged")

    with pytest.raises(EngineError, match="weights are damaged"):
        serve(make_transcriber=make)
    with pytest.raises(PresetError):
        serve(presets=("nonsense",))
    assert not (tmp_path / "run" / "connection.json").exists()


def test_a_sidecar_whose_system_does_not_run_does_not_start(serve):
    class Broken(ClickTranscriber):
        def step(self, audio, states):
            raise RuntimeError("no such operator")

    with pytest.raises(EngineError, match="no such operator"):
        serve(make_transcriber=lambda preset: Broken(), warm_up=True)


BROKEN = {
    "empty": [b""],
    "no msgpack": [b"\xc1\xff\x00"],
    "truncated": [encode(HELLO)[:-3]],
    "rate out of range": [encode(msgspec.structs.replace(HELLO, rate=1_000))],
    "9 channels": [encode(msgspec.structs.replace(HELLO, channels=9))],
    "samples missing": [encode(wire.Audio(1, 0, 512))],
    "too few samples": [encode(wire.Audio(1, 0, 512)), b"\0" * 2047],
    "three frames": [encode(wire.Audio(1, 0, 1)), b"\0" * 4, b""],
    "nested": [b"\x91" * 50_000],
    "bundle in a bundle": [encode(wire.Bundle((wire.Item(0, encode(wire.Bundle(()))),)))],
    "bundle without its samples": [encode(wire.Bundle((wire.Item(0, encode(wire.Audio(9, 0, 1)), 4),)))],
    "line out of range": [msgspec.msgpack.encode({"type": "bundle", "items": [[256, b"", 0]]})],
}


@pytest.mark.parametrize("frames", BROKEN.values(), ids=BROKEN)
def test_a_broken_message_is_refused_and_the_session_goes_on(serve, frames):
    with Raw(serve().connection) as raw:
        raw.hello()
        raw.silence(0)
        raw.expect(wire.Events)
        raw.raw(*frames)
        refusal = raw.expect(wire.Refusal)
        assert refusal.code == "protocol" and refusal.message and refusal.remedy
        raw.silence(512)
        assert raw.expect(wire.Events).through_seq == 2


def test_unknown_messages_are_ignored(serve):
    with Raw(serve().connection) as raw:
        raw.raw(msgspec.msgpack.encode({"type": "teleport"}), b"whatever")
        raw.send(wire.Ping(1))
        assert isinstance(raw.receive(), wire.Pong)


def test_an_oversize_message_ends_the_connection_only(serve):
    connection = serve().connection
    with Raw(connection) as good, Raw(connection) as bad:
        good.hello()
        bad.hello()
        bad.raw(encode(wire.Audio(1, 0, 8192)), b"\0" * (wire.MAX_MESSAGE + 1))
        good.silence(0)
        assert good.expect(wire.Events).through_seq == 1
        answer = None
        for _ in range(25):  # what was under way when the connection broke is lost with it
            bad.silence(0)  # over a connection that ZeroMQ made anew: the sidecar does not know it
            if answer := bad.receive(0.2):
                break
        assert isinstance(answer, wire.Refusal) and answer.code == "stranger"
        bad.seq = 0
        bad.hello()
        bad.silence(0)
        assert bad.expect(wire.Events).through_seq == 1


def test_random_bytes_do_no_harm(serve):
    generator = np.random.default_rng(1)
    connection = serve().connection
    with Raw(connection) as raw:
        raw.hello()
        for _ in range(500):
            frames = [generator.bytes(generator.integers(0, 100)) for _ in range(generator.integers(1, 4))]
            raw.raw(*frames)
        raw.silence(0)
        assert raw.expect(wire.Events).through_seq == 1


def test_eight_channels_of_nonsense_are_heard_as_silence(serve):
    generator = np.random.default_rng(2)
    sidecar = serve()
    with Raw(sidecar.connection) as raw:
        raw.hello(msgspec.structs.replace(HELLO, channels=8))
        for index in range(20):
            noise = np.frombuffer(generator.bytes(8 * 512 * 4), np.float32).reshape(8, 512)
            raw.audio(512 * index, noise)
            assert raw.expect(wire.Events).through_seq == index + 1
        assert status(sidecar.connection).sessions[0].repaired > 0


def test_the_first_audio_without_hello_is_refused(serve):
    with Raw(serve().connection) as raw:
        raw.silence(0)
        refusal = raw.expect(wire.Refusal)
        assert refusal.code == "stranger" and refusal.about == "audio"


def test_sessions_are_limited(serve):
    connection = serve(max_sessions=2).connection
    with Raw(connection) as a, Raw(connection) as b, Raw(connection) as c:
        a.hello()
        b.hello()
        c.send(HELLO)
        assert c.expect(wire.Refusal).code == "busy"
        b.send(wire.Goodbye())
        eventually(lambda: len(status(connection).sessions) == 1)
        c.hello()


def test_a_second_hello_begins_a_new_session(serve):
    sidecar = serve()
    with Raw(sidecar.connection) as raw:
        first = raw.hello()
        raw.silence(0)
        second = raw.hello(msgspec.structs.replace(HELLO, rate=44_100))
        raw.seq = 0
        raw.silence(0)
        raw.expect(wire.Events)
        assert second.session > first.session
        assert [s.rate for s in status(sidecar.connection).sessions] == [44_100]


def test_configure_brings_a_new_welcome_or_changes_nothing(serve):
    sidecar = serve()
    with Raw(sidecar.connection) as raw:
        before = raw.hello()
        raw.send(wire.Configure(presets=("balanced",), track="Track 9"))
        after = raw.expect(wire.Welcome)
        assert after.session == before.session and after.latency.total > before.latency.total
        raw.send(wire.Configure(presets=("nonsense",)))
        assert raw.expect(wire.Refusal).about == "configure"
        (session,) = status(sidecar.connection).sessions
        assert session.presets == ("balanced",) and session.track == "Track 9"


def test_a_silent_client_is_forgotten_and_told(serve):
    sidecar = serve(heartbeat_ms=50)
    with Raw(sidecar.connection) as raw:
        raw.hello()
        assert raw.expect(wire.Goodbye, 2).code == "silence"
        assert not status(sidecar.connection).sessions


def test_a_client_that_dies_in_the_middle_of_a_note_leaves_nothing(serve):
    transcriber = ClickTranscriber(hold=10**9)
    sidecar = serve(make_transcriber=lambda preset: transcriber, heartbeat_ms=50)
    raw = Raw(sidecar.connection)
    raw.hello()
    audio = clicks([2_000], 9_600, RATE)
    for start in range(0, 9_600, 480):
        raw.audio(start, audio[:, start : start + 480])
        raw.expect(wire.Events)
    assert status(sidecar.connection).sessions[0].sounding == 1
    raw.close()
    eventually(lambda: not status(sidecar.connection).sessions)
    with Raw(sidecar.connection) as another:
        another.hello()


def test_stopping_says_goodbye_and_releases_what_sounds(serve, tmp_path):
    transcriber = ClickTranscriber(hold=10**9)
    sidecar = serve(make_transcriber=lambda preset: transcriber)
    with Raw(sidecar.connection) as raw:
        raw.hello()
        audio = clicks([2_000], 9_600, RATE)
        events = []
        for start in range(0, 9_600, 480):
            raw.audio(start, audio[:, start : start + 480])
            events.append(raw.expect(wire.Events))
        sidecar.stop()
        events.append(raw.expect(wire.Events))
        assert [type(n).__name__ for n in notes_of(events)] == ["NoteOn", "NoteOff"]
        assert raw.expect(wire.Goodbye).code == "shutdown"
    assert not (tmp_path / "run" / "connection.json").exists()


class Explosive(ClickTranscriber):
    """Fails for the stream that hears something very loud; what it hears with others must not matter."""

    def step(self, audio: Tensor, states):
        if bool((audio.abs() > 100).any()):
            raise RuntimeError("the system exploded")
        return super().step(audio, states)


def test_many_sessions_at_once_and_one_that_explodes(serve):
    """16 plug-ins; one breaks its system, one floods, the others hear every click on its sample."""
    transcriber = Explosive(latency=320)
    sidecar = serve(make_transcriber=lambda preset: transcriber)
    raws = [Raw(sidecar.connection) for _ in range(16)]
    places = {index: [3_000 + 61 * index, 15_000 + 127 * index] for index in range(2, 16)}
    try:
        for raw in raws:
            raw.hello()
        heard = {index: [] for index in places}
        audio = {index: clicks(at, 24_000, RATE) for index, at in places.items()}
        for start in range(0, 24_000, 480):
            for index, raw in enumerate(raws):
                if index == 0 and 9_600 <= start < 12_000:
                    raw.audio(start, np.full((1, 480), 1_000, np.float32))
                elif index == 1 and start == 4_800:
                    for number in range(1, 3_000):
                        raw.send(wire.Flush(raw.seq + number))
                elif index > 1:
                    raw.audio(start, audio[index][:, start : start + 480])
                elif start < 4_800:
                    raw.silence(start, 480)
            for index in places:
                heard[index].append(raws[index].expect(wire.Events))
        for index in places:
            raws[index].send(wire.Flush(raws[index].seq + 1))
            heard[index].append(raws[index].expect(wire.Events))
            onsets = [n.time for n in notes_of(heard[index]) if isinstance(n, wire.NoteOn)]
            assert np.abs(np.array(onsets) - places[index]).max() <= 2
        goodbye = raws[0].expect(wire.Goodbye)
        assert goodbye.code == "failure" and "exploded" in goodbye.reason and goodbye.remedy
        assert raws[1].expect(wire.Goodbye).code == "credit"
        assert len(status(sidecar.connection).sessions) == 14
        assert max(batch for batch, _ in transcriber.calls) > 1, "sessions were batched"
    finally:
        for raw in raws:
            raw.close()


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_live_equals_offline_to_the_sample(serve, rate):
    """Random blocks over the wire give exactly what the pipeline gives in one push."""
    generator = np.random.default_rng(rate)
    places = np.cumsum(generator.integers(rate // 20, rate // 5, 12))
    audio = clicks([int(place) for place in places], int(places[-1]) + rate // 2, rate, 2)
    stream = Stream(ClickTranscriber(latency=320), rate, 2, chunk_ms=20)
    stream.push(audio)
    offline = [*advance([stream])[0].notes, *stream.finish().notes]
    with Client(rate, 2, max_block=2048, offline=True, connection=serve().connection) as client:
        start = 0
        while start < audio.shape[1]:
            size = int(generator.integers(1, 2049))
            client.send(audio[:, start : start + size])
            start += size
        live = notes_of(client.flush("end"))
    assert len(offline) == 24
    assert [(n.time, n.pitch, round(n.velocity, 5)) for n in live] == [
        (n.time, n.pitch, round(n.velocity, 5)) for n in offline
    ]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory from /proc")
def test_100_000_blocks_do_not_grow_the_sidecar(serve):
    transcriber = ClickTranscriber()
    sidecar = serve(make_transcriber=lambda preset: transcriber)
    memory, blocks, size = {}, 100_000, 64
    with Raw(sidecar.connection) as raw:
        credit = raw.hello(msgspec.structs.replace(HELLO, max_block=size)).credit
        silence, through = np.zeros((1, size), np.float32), 0
        for number in range(1, blocks + 1):
            raw.audio((number - 1) * size, silence)
            while number - through >= credit:
                through = raw.expect(wire.Events).through_seq
            transcriber.calls.clear()
            if number in (blocks // 5, blocks):
                memory[number] = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
        while through < blocks:
            through = raw.expect(wire.Events).through_seq
        (session,) = status(sidecar.connection).sessions
    assert session.blocks == blocks and session.gaps == session.duplicates == session.dropped == 0
    assert memory[blocks] - memory[blocks // 5] < 8 * 2**20


def test_settings_have_the_documented_defaults():
    settings = ServeSettings()
    assert settings.listen == "tcp://127.0.0.1:*" and settings.max_sessions == 32 and not settings.once


def on_lines(raw, kind, count, timeout_s=5.0):
    """Line and message of the next `count` of a kind, alone or in bundles."""
    found, deadline = [], time.monotonic() + timeout_s
    while len(found) < count:
        message = raw.receive(deadline - time.monotonic())
        assert message is not None, f"no {kind.__name__} came"
        told = [(0, message)]
        if isinstance(message, wire.Bundle):
            told = [(item.line, decode_to_plugin(item.header)) for item in message.items]
        found += [each for each in told if isinstance(each[1], kind)]
    return found


def test_lines_of_one_connection_have_sessions_of_their_own_and_are_answered_together(serve):
    sidecar = serve()
    both = [clicks([1_000], 24_000, RATE), clicks([5_000], 24_000, RATE)]
    with Raw(sidecar.connection) as raw:
        assert raw.hello().lines > 1
        raw.send(wire.Bundle((wire.Item(7, encode(HELLO)),)))
        ((line, welcome),) = on_lines(raw, wire.Welcome, 1)
        assert line == 7 and welcome.session == 2
        pieces = [audio[:, begin : begin + 8_000] for begin in (0, 8_000, 16_000) for audio in both]
        for number in range(3):
            header = encode(wire.Audio(number + 1, 8_000 * number, 8_000, wire.Transport(playing=True)))
            items = (wire.Item(0, header, 32_000), wire.Item(7, header, 32_000))
            samples = b"".join(encode_samples(piece) for piece in pieces[2 * number : 2 * number + 2])
            raw.raw(encode(wire.Bundle(items)), samples)
        flush = encode(wire.Flush(4))
        raw.send(wire.Bundle((wire.Item(0, flush), wire.Item(7, flush))))
        onsets = {0: [], 7: []}
        through = {0: 0, 7: 0}
        while min(through.values()) < 4:
            for line, events in on_lines(raw, wire.Events, 1):
                onsets[line] += [note.time for note in events.notes if isinstance(note, wire.NoteOn)]
                through[line] = events.through_seq
        assert {line: len(times) for line, times in onsets.items()} == {0: 1, 7: 1}
        assert abs(onsets[0][0] - 1_000) <= 2 and abs(onsets[7][0] - 5_000) <= 2
        raw.send(wire.Bundle((wire.Item(7, encode(wire.Goodbye())),)))
        eventually(lambda: [s.session for s in status(sidecar.connection).sessions] == [1])


def test_a_broken_message_in_a_bundle_is_refused_alone(serve):
    with Raw(serve().connection) as raw:
        raw.hello()
        broken = wire.Item(3, encode(HELLO)[:-3])
        raw.send(wire.Bundle((broken, wire.Item(4, encode(HELLO)))))
        ((line, refusal),) = on_lines(raw, wire.Refusal, 1)
        assert (line, refusal.code) == (3, "protocol")
        ((line, _),) = on_lines(raw, wire.Welcome, 1)
        assert line == 4


def test_blocks_held_back_until_they_are_due_lose_nothing(serve):
    sidecar = serve()
    audio = clicks([3_000, 9_000, 30_000], 48_000, RATE)
    heard = []
    for block in (480, 8_000):
        with Client(RATE, 1, max_block=block, connection=sidecar.connection) as client:
            for begin in range(0, 48_000, block):
                client.send(audio[:, begin : begin + block], wire.Transport(playing=True))
                time.sleep(0.001 if block < 1_000 else 0)
            found = [note.time for note in notes_of(client.flush("end")) if isinstance(note, wire.NoteOn)]
            (session,) = status(sidecar.connection).sessions
            heard.append((found, session.blocks))
    assert heard[0][0] == heard[1][0] and len(heard[0][0]) == 3
    assert heard[0][1] < 100, "blocks of 10 ms travel one by one"
