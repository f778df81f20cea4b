"""Be a plug-in: send a file to a sidecar and print notes as they come.

python examples/live_client.py take.wav          (uses the sidecar that runs, or starts one)
"""

import sys
from pathlib import Path

from bridge.listening import sidecar
from bridge.studio.audio import open_audio
from bridge.wire.client import Client
from bridge.wire.protocol import Events, NoteOn, Transport


def show(received: list[Events]) -> None:
    for events in received:
        for note in events.notes:
            if isinstance(note, NoteOn):
                print(f"sample {note.time}: pitch {note.pitch}, velocity {note.velocity:.2f}")


def main(recording: Path) -> None:
    source = open_audio(recording)
    with (
        sidecar(["live"]) as (connection, _),
        Client(source.rate, source.channels, offline=True, connection=connection) as client,
    ):
        for block in source.blocks():
            client.send(block, Transport(playing=True))
            show(client.receive())
        show(client.flush("end"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
