"""Every error a user can meet.

BridgeError (exit 1)
├── UsageError (2)        a wrong name, option or combination
│   └── PresetError
├── InputError (3)        a file or stream that cannot be read as what it should be
│   ├── AudioError
│   └── MidiError
├── OutputError (4)       a file that cannot be written
├── LinkError (5)         the other end of the wire
│   ├── ProtocolError     a message that breaks the protocol
│   ├── SidecarMissing    nobody listens
│   └── Refused           the sidecar said no
└── EngineError (6)       weights, models, plug-ins
"""

from __future__ import annotations

from typing import ClassVar


class BridgeError(Exception):
    """Something went wrong that the user can mend.

    Args:
        what: what happened, naming the file, option or value.
        why: the reason, if known.
        remedy: what to do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, why: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.remedy = what, why, remedy

    def __str__(self) -> str:
        return " ".join(_sentence(part) for part in (self.what, self.why, self.remedy) if part)


class UsageError(BridgeError):
    """A wrong name, option or combination of options."""

    exit_code = 2


class PresetError(UsageError):
    """A preset that does not exist or does not make sense."""


class InputError(BridgeError):
    """A file or stream that cannot be read as what it should be."""

    exit_code = 3


class AudioError(InputError):
    """Audio that cannot be read or heard."""


class MidiError(InputError):
    """MIDI that cannot be read or played."""


class OutputError(BridgeError):
    """A file that cannot be written."""

    exit_code = 4


class LinkError(BridgeError):
    """Trouble between plug-in and sidecar."""

    exit_code = 5


class ProtocolError(LinkError):
    """A message that breaks the protocol."""


class SidecarMissing(LinkError):  # noqa: N818
    """No sidecar answers."""


class Refused(LinkError):  # noqa: N818
    """The sidecar refused a session."""


class EngineError(BridgeError):
    """Weights, models or plug-ins that cannot be used."""

    exit_code = 6


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else text + "."
