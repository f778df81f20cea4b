"""What `serve` is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.presets import Preset, load
from bridge.wire.protocol import HEARTBEAT_MS

ANY_PORT = "tcp://127.0.0.1:*"


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Settings of a sidecar; the defaults are those of `dawbridge serve`.

    Args:
        listen: where to listen; beyond loopback only with an allow-list.
        allow: file of public keys that may connect besides the local client's.
        presets: for sessions that name none; opened and warmed up before the first Welcome.
        load_preset: names to a preset.
        make_transcriber: a preset to a transcriber with its weights.
        once: end when the last client has left.
        once_wait_s: how long `once` waits for the next client, so that a reloaded plug-in finds us.
        once_first_s: how long `once` waits for the first client.
        max_sessions: further plug-ins are refused.
        heartbeat_ms: clients that are silent for four of these are gone.
        workers: threads that step sessions, `None` = one per core, at most 4.
        threads: threads of torch in each worker, `None` = its own choice.
        warm_up: hear a second of silence before the first session.
        freeze: keep what exists after warm-up out of the garbage collector's way.
        runtime_folder: folder of the connection file, `None` = the user's.
        data_folder: folder of the keys, `None` = the user's.
        play: MIDI file that is played along each host's transport, instead of hearing, wherever a plug-in
            asks for no system.
        takes: folder for a MIDI file of each pass of a host's transport, `None` = none are written.
    """

    listen: str = ANY_PORT
    allow: Path | None = None
    presets: tuple[str, ...] = ("live",)
    load_preset: Callable[[Sequence[str]], Preset] = load
    make_transcriber: Callable[[Preset], Any] = Preset.transcriber
    once: bool = False
    once_wait_s: float = 3.0
    once_first_s: float = 60.0
    max_sessions: int = 32
    heartbeat_ms: int = HEARTBEAT_MS
    workers: int | None = None
    threads: int | None = None
    warm_up: bool = True
    freeze: bool = True
    runtime_folder: Path | None = None
    data_folder: Path | None = None
    takes: Path | None = None
    play: Path | None = None
