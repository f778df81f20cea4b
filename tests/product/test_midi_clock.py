"""MIDI clock follows beats as they are told: late, a few missed, a few wrong."""

import time
from itertools import pairwise

import pytest

from bridge.errors import OutputError
from bridge.midi_clock import MidiClock
from bridge.midi_port import LivePort
from inference.events import Beat, Events
from inference.pulses import PER_BEAT, Kind, Pulses

RATE = 16_000
LATE = 0.24


def told(times, of=4, late=LATE, first=0):
    """Beats at these seconds, each with the second at which it is told."""
    return [(Beat(round(t * RATE), (k + first) % of, of, 1.0), t + late) for k, t in enumerate(times)]


def run(beats, until):
    """Everything that is sent until then, as (seconds, kind)."""
    pulses, sent = Pulses(), []
    for beat, when in beats:
        sent += pulses.tell([beat], when * RATE)
    sent += pulses.due(until * RATE)
    return [(pulse.time / RATE, pulse.kind) for pulse in sent]


def counted(sent):
    """Seconds of the whole beats of the count that is on at last."""
    start = max(i for i, (_, kind) in enumerate(sent) if kind is Kind.START)
    clocks = [at for at, kind in sent[start:] if kind is Kind.CLOCK]
    return clocks[::PER_BEAT]


def test_even_beats_become_24_even_pulses_each_and_a_start_where_a_bar_begins():
    beats = [0.5 * k for k in range(20)]
    sent = run(told(beats), 10)
    assert [kind for _, kind in sent].count(Kind.START) == 1
    # The fourth beat, at 1.5 s, is told at 1.74: the next bar begins at 2 s.
    assert counted(sent) == pytest.approx([2 + 0.5 * k for k in range(17)], abs=1e-3)
    clocks = [at for at, kind in sent if kind is Kind.CLOCK]
    assert clocks[0] >= 1.74 and clocks == sorted(clocks)
    gaps = [after - before for before, after in pairwise(clocks)]
    assert gaps == pytest.approx([0.5 / PER_BEAT] * len(gaps), abs=1e-4)


def test_a_bar_of_three_that_begins_with_an_upbeat():
    sent = run(told([0.4 * k for k in range(12)], of=3, first=2), 5)
    assert counted(sent)[0] == pytest.approx(0.4 * 4)  # the first bar begins at 0.4 s, the second at 1.6


def test_rubato_is_followed():
    beats = [0.0]
    for k in range(60):
        beats.append(beats[-1] + 0.6 * (1 + 0.15 * ((k // 8) % 2)))  # a sixth slower, then faster again
    sent = run(told(beats), beats[-1])
    clicks = counted(sent)
    off = [min(abs(click - beat) for beat in beats) for click in clicks]
    assert max(off) < 0.18 and sorted(off)[len(off) // 2] < 0.03
    assert [kind for _, kind in sent].count(Kind.STOP) == 0 and len(clicks) >= len(beats) - 8


def test_missed_and_stray_beats_do_no_harm():
    beats = told([0.5 * k for k in range(40)])
    spoilt = [pair for k, pair in enumerate(beats) if k not in (9, 10, 17, 30)]
    spoilt += told([11.26, 16.24])
    spoilt.sort(key=lambda pair: pair[0].time)
    clicks = counted(run(spoilt, 20))
    assert clicks == pytest.approx([2 + 0.5 * k for k in range(len(clicks))], abs=2e-3)


def test_it_stops_when_beats_stay_away_and_starts_again_where_a_bar_begins():
    sent = run(told([0.5 * k for k in range(12)]) + told([10 + 0.5 * k for k in range(12)]), 15.7)
    kinds = [kind for _, kind in sent if kind is not Kind.CLOCK]
    assert kinds == [Kind.START, Kind.STOP, Kind.START]
    stop = next(at for at, kind in sent if kind is Kind.STOP)
    assert stop == pytest.approx(5.5 + 4 * 0.5)
    assert counted(sent)[0] == pytest.approx(12)


def test_another_count_stops_and_starts_again():
    slow = [0.5 * k for k in range(12)]
    beats = told(slow) + told([slow[-1] + 0.75 + 0.5 * k for k in range(12)])
    sent = run(beats, 11)
    assert [kind for _, kind in sent if kind is not Kind.CLOCK] == [Kind.START, Kind.STOP, Kind.START]
    assert (counted(sent)[0] - 0.25) % 0.5 == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "beats", [[], told([1.0]), told([1, 1, 1, 1, 1]), told([0.3, 1.5, 1.7, 4.0, 4.1, 9.0])]
)
def test_what_cannot_be_counted_sends_nothing(beats):
    assert run(beats, 12) == []


class Sink:
    def __init__(self, fails=None):
        self.sent, self.fails = [], fails

    def send(self, message):
        if self.fails:
            raise self.fails
        self.sent.append((time.perf_counter(), message))

    def close(self):
        pass


def test_the_clock_runs_by_itself_and_stops_at_the_end():
    sink = Sink()
    with LivePort(sink) as port, MidiClock(port, RATE) as clock:
        clock.begin()
        begun = time.perf_counter()
        for beat, when in told([0.1 * k for k in range(14)], late=0.02):
            time.sleep(max(0.0, begun + when - time.perf_counter()))
            clock.tell([beat])
        time.sleep(0.1)
    types = [message.type for _, message in sink.sent]
    assert types.count("start") == 1
    assert types.index("stop") > types.index("start")
    start = types.index("start")
    clocks = [at for at, message in sink.sent[start:] if message.type == "clock"]
    assert len(clocks) > 10 * PER_BEAT * 0.7
    # In time on a machine that does other things too: the middle one of the differences.
    off = sorted(abs((at - begun) * 10 - k / PER_BEAT - 4) for k, at in enumerate(clocks))
    assert off[len(off) // 2] < 0.2


def test_a_port_that_is_gone_is_told_to_who_tells_beats():
    with MidiClock(LivePort(Sink(OutputError("the MIDI port is closed"))), RATE) as clock:
        clock.begin()
        with pytest.raises(OutputError, match="closed"):
            for beat, _ in told([0.1 * k for k in range(40)]):
                time.sleep(0.1)
                clock.tell([beat])


def test_a_device_that_is_unplugged_is_heard_of_and_the_clock_ends():
    sink = Sink()
    clock = MidiClock(LivePort(sink), RATE)
    clock.begin()
    for beat, _ in told([0.05 * k for k in range(8)]):
        time.sleep(0.05)
        clock.tell([beat])
    sink.fails = RuntimeError("unplugged")
    clock._thread.join(5)
    assert not clock._thread.is_alive()
    with pytest.raises(RuntimeError, match="unplugged"):
        clock.tell([])
    clock.close()


def test_beats_as_notes_last_until_the_next_and_never_hang():
    sink = Sink()
    with LivePort(sink, beat_notes=10) as port:
        port.send(Events(0, beats=(Beat(0, 0, 2, 1.0), Beat(100, 1, 2, 1.0))))
        assert port.sounding == {(9, 77)}
    plain = [tuple(message.bytes()) for _, message in sink.sent]
    assert plain[:4] == [(0x99, 76, 114), (0x89, 76, 64), (0x99, 77, 76), (0x89, 77, 64)]
    assert (0xB9, 123, 0) in plain
