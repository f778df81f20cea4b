"""Bounce a recording in Python.

python examples/bounce_file.py take.wav midi
"""

import sys
from pathlib import Path

from bridge.presets import load
from bridge.studio.bounce import BounceOptions, bounce


def main(recording: Path, folder: Path) -> None:
    report = bounce([recording], folder, BounceOptions(preset=load(["offline"]), picture=True))
    for result in report.results:
        print(f"{result.source.name}: {result.status}, {result.notes} notes in {result.seconds:.1f} s")
        for path in result.outputs:
            print(f"  {path}")
        if result.error:
            print(f"  {result.error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
