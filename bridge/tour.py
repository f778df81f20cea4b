"""The main job once around: a performance is rendered, heard, written down, and compared with itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.errors import EngineError
from bridge.midi import read_midi
from bridge.presets import Preset, load
from bridge.studio.bounce import BounceOptions, FileResult, bounce
from bridge.studio.demo import write_demo
from bridge.studio.render import RenderReport, render
from bridge.studio.report import Match, match

RATE = 44_100


@dataclass(frozen=True, slots=True)
class Tour:
    """What was rendered, what was heard in it, and how far the two agree."""

    rendered: RenderReport
    heard: FileResult
    agreement: Match

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that was written, in order: audio, MIDI, picture."""
        return (self.rendered.path, *self.heard.outputs)

    def summary(self) -> str:
        """For people."""
        hits, misses = len(self.agreement.hits), len(self.agreement.misses)
        return (
            f"Played {hits + misses} notes in {self.heard.seconds:.1f} s, heard {hits} of them "
            f"and {len(self.agreement.extras)} that nobody played, "
            f"{self.heard.real_time_factor:.0f} x real time"
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "files": [str(path) for path in self.files],
            "played": len(self.agreement.hits) + len(self.agreement.misses),
            "hits": len(self.agreement.hits),
            "misses": len(self.agreement.misses),
            "extras": len(self.agreement.extras),
            "bounce": self.heard.as_dict(),
        }


def tour(out: Path, preset: Preset | None = None, *, picture: bool = True) -> Tour:
    """Render the demo performance into the folder `out`, bounce it, and compare."""
    preset = preset or load(["offline"])
    played, audio = out / "played.mid", out / "prelude.wav"
    write_demo(played)
    rendered = render(played, audio, rate=RATE)
    (heard,) = bounce([audio], out, BounceOptions(preset, picture=picture)).results
    if heard.status == "failed":
        raise EngineError("the demo could not be heard", why=heard.error, remedy="Run: dawbridge doctor")
    truth, estimate = read_midi(played, RATE), read_midi(heard.outputs[0], RATE)
    return Tour(rendered, heard, match(estimate.notes, truth.notes, RATE))
