"""Play a MIDI file through a piano in a hall.

python examples/render_in_a_hall.py take.mid take.wav
"""

import sys
from pathlib import Path

from bridge.studio.render import render


def main(midi: Path, audio: Path) -> None:
    report = render(midi, audio, piano="grand-piano", room="hall", level_db=-3.0)
    print(f"{report.path}: {report.seconds:.1f} s, of which {report.tail_s:.1f} s is the hall dying away")
    print(f"{report.notes} notes, peak {report.peak_db:.1f} dB, {report.real_time_factor:.0f} x real time")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
