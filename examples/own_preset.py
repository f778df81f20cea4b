"""Write a preset of your own and bounce with it.

python examples/own_preset.py take.wav midi

It goes into the folder of your presets (`dawbridge presets path`), under the name soft-keys.
"""

import sys
from pathlib import Path

from bridge.presets import load, user_folder
from bridge.studio.bounce import BounceOptions, bounce

PRESET = """
channel   = 3
key_range = [36, 96]
pedal     = "raw"
velocity  = { curve = "soft", min = 20, max = 100 }
lanes     = { dynamics = 1, sustain = 64 }
"""


def main(recording: Path, folder: Path) -> None:
    file = user_folder() / "instruments" / "soft-keys.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(PRESET)
    preset = load(["offline", "soft-keys"])
    (result,) = bounce([recording], folder, BounceOptions(preset=preset)).results
    print(f"{preset.name}: {result.notes} notes on channel {preset.instrument.channel}, {result.outputs[0]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
