"""Perform a score: strictly, freely, and in a learned style; then hear the last.

python examples/perform_score.py sonata.mid played
"""

import sys
from pathlib import Path

from bridge.studio.loudness import render_loud
from bridge.studio.perform import PerformOptions, perform
from inference.performance import load

WAYS = {
    "strict": PerformOptions(rubato=0, dynamics=0, articulation=0),
    "free": PerformOptions(rubato=1.5),
    "legato": PerformOptions(style="legato"),
}


def main(score: Path, folder: Path) -> None:
    performer = load()
    for name, options in WAYS.items():
        done = perform(score, folder / f"{name}.mid", performer, options)
        print(f"{name}: {done.notes} notes, {done.seconds:.1f} s at {done.tempo:.0f} beats per minute")
    heard = render_loud(done.path, folder / "legato.wav")
    print(f"{heard.path.name}: {heard.loudness:.1f} LUFS")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
