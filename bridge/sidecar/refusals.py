"""How the sidecar says no: every code with its words and its remedy."""

from __future__ import annotations

import logging

from bridge.errors import BridgeError, PresetError, ProtocolError
from bridge.wire import protocol as wire

log = logging.getLogger(__name__)

LONGEST = 2048
DOCTOR = "Run: dawbridge doctor"


def of_version(theirs: wire.Versions) -> wire.Refusal | None:
    """Refuse a plug-in that speaks no protocol of ours; `None` if it does."""
    if theirs[0] <= wire.PROTOCOL[1] and theirs[1] >= wire.PROTOCOL[0]:
        return None
    older = theirs[1] < wire.PROTOCOL[0]
    return wire.Refusal(
        "version",
        f"the plug-in speaks protocol {_range(theirs)}, the sidecar {_range(wire.PROTOCOL)}",
        f"Update {'the plug-in' if older else 'dawbridge'}",
    )


def full(sessions: int) -> wire.Refusal:
    """Refuse a session beyond the limit."""
    return wire.Refusal("busy", f"all {sessions} sessions are taken", "Remove an instance of the plug-in")


def hasty(about: str) -> wire.Refusal:
    """Refuse a request while the one before is being worked on."""
    return wire.Refusal("busy", "the request before is not answered yet", "Wait for its answer", about)


def stranger(about: str) -> wire.Refusal:
    """Refuse a message that needs a session."""
    return wire.Refusal("stranger", "there is no session here", "Say Hello again", about)


def of_error(error: Exception, about: str) -> wire.Refusal:
    """Say what went wrong, and what helps."""
    if not isinstance(error, BridgeError):
        log.error("a session could not be opened", exc_info=error)
        return wire.Refusal("system", _text(error), DOCTOR, about)
    code = {PresetError: "preset", ProtocolError: "protocol"}.get(type(error), "system")
    text = f"{error.what}: {error.why}" if error.why else error.what
    return wire.Refusal(code, text[:LONGEST], error.remedy[:LONGEST], about)


def failure(error: BaseException) -> wire.Goodbye:
    """End a session whose system, or whose handling, broke."""
    return wire.Goodbye("failure", f"the system failed: {_text(error)}"[:LONGEST], DOCTOR)


def silence(seconds: float) -> wire.Goodbye:
    """End a session whose client says nothing any more."""
    return wire.Goodbye("silence", f"nothing was heard for {seconds:g} s", "Say Hello again")


def _text(error: BaseException) -> str:
    return str(error)[:LONGEST] or type(error).__name__


def _range(versions: wire.Versions) -> str:
    return str(versions[0]) if versions[0] == versions[1] else f"{versions[0]} to {versions[1]}"
