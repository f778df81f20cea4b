"""One message of each kind, with every field filled and numbers at their limits: the golden files.

Run `python -m tests.protocol.samples` to write the files anew, after a change of the protocol only.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from bridge.wire import protocol as wire
from bridge.wire.codec import encode, encode_samples

GOLDEN = Path(__file__).parent / "golden"

INSTANCE = "7f0c1f9e-5d0a-4f4f-9a3e-0c9a1b2c3d4e"
TRANSPORT = wire.Transport(True, True, False, 117.5, -2.25, -4.0, (7, 8), -96_000)

TO_SIDECAR: dict[str, wire.ToSidecar] = {
    "hello": wire.Hello(
        (1, 3),
        48_000,
        2,
        512,
        INSTANCE,
        "Flügel",
        "Track 1 ♪",
        "plug-in 0.1.0",
        ("live",),
        True,
        False,
        '{"system":{"name":"piano"}}',
    ),
    "hello-short": wire.Hello((1, 1), 8_000, 1, 1),
    "audio": wire.Audio(1, 2**53, 3, TRANSPORT),
    "audio-short": wire.Audio(300, 70_000, 8192),
    "configure": wire.Configure(("balanced",), False, True, "Flügel", "Track 2"),
    "configure-contents": wire.Configure(contents='{"system":{"name":"piano"}}'),
    "configure-short": wire.Configure(monitor=False),
    "flush": wire.Flush(2**32, "seek"),
    "ping": wire.Ping(123_456_789_012_345),
    "status": wire.Status(),
    "goodbye-plugin": wire.Goodbye(),
    "bundle-plugin": wire.Bundle(
        (
            wire.Item(0, encode(wire.Audio(1, 0, 2)), 8),
            wire.Item(255, encode(wire.Ping(5))),
            wire.Item(3, encode(wire.Audio(9, 70_000, 1)), 4),
        )
    ),
}
TO_PLUGIN: dict[str, wire.ToPlugin] = {
    "welcome": wire.Welcome(
        1,
        2**53,
        7,
        wire.Latency(512, 161, 960, 960, 960),
        20,
        250,
        "immediate",
        ("piano",),
        "par-1",
        "dawbridge 0.1.0",
        wire.Instrument(10, (21, 108), tuple(range(128)), {"dynamics": 11, "sustain": 64}),
        32,
        '{"system":{"name":"piano"}}',
    ),
    "refusal": wire.Refusal(
        "version", "the plug-in speaks protocol 2, the sidecar 1", "Update dawbridge", "configure"
    ),
    "events": wire.Events(
        12,
        48_000,
        (wire.NoteOn(47_000, 60, 0.5, 3, 15, 0.75), wire.NoteOff(47_500, 127, 0.0, 2, 0)),
        (wire.Control(47_100, 64, 1.0, 1),),
        (wire.LanePoint(47_200, "dynamics", 0.25), wire.LanePoint(47_300, "tempo", 117.5)),
        (wire.Beat(47_400, 0, 4, 1.0),),
        1_850,
        90,
        49_163,
    ),
    "events-empty": wire.Events(13, 48_512),
    "pong": wire.Pong(123_456_789_012_345, 3, 2, 1, 0.5),
    "report": wire.Report(
        (1, 1),
        5,
        4242,
        "dawbridge 0.1.0",
        12.5,
        0.25,
        ("piano",),
        1,
        (
            wire.SessionReport(
                7, "Flügel", "Track 1", 48_000, 2, ("live",), False, 10.5, 100, 5, 1, 2, 3, 4, 5, 6, 7,
                (900, 1_800), (50, 250),
            ),
        ),
    ),
    "bundle-sidecar": wire.Bundle(
        (
            wire.Item(255, encode(wire.Events(12, 48_000, due=49_163))),
            wire.Item(0, encode(wire.Pong(5, load=0.5))),
        )
    ),
    "goodbye-sidecar": wire.Goodbye("shutdown", "the sidecar stops", "Start it again with: dawbridge serve"),
}  # fmt: skip
SAMPLES = np.array([[0.0, 0.5, -1.0], [1.0, -0.25, 3.0e-5]], dtype=np.float32)


def write() -> None:
    """Write every golden file, and beside it the same message as JSON for readers in other languages."""
    for name, message in (TO_SIDECAR | TO_PLUGIN).items():
        (GOLDEN / f"{name}.bin").write_bytes(encode(message))
        (GOLDEN / f"{name}.json").write_bytes(
            msgspec.json.format(msgspec.json.encode(message), indent=1) + b"\n"
        )
    (GOLDEN / "audio.samples.bin").write_bytes(encode_samples(SAMPLES))


if __name__ == "__main__":
    write()
