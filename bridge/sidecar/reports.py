"""How a session fares, in the words of the protocol."""

from __future__ import annotations

from bridge.sidecar.session import Session
from bridge.wire import protocol as wire


def session_report(session: Session, age_s: float) -> wire.SessionReport:
    """One line of `dawbridge status`."""
    hello, counts = session.hello, session.counts
    return wire.SessionReport(
        session=session.number,
        name=hello.name,
        track=hello.track,
        rate=hello.rate,
        channels=hello.channels,
        presets=session.terms.presets,
        offline=hello.offline,
        age_s=age_s,
        blocks=counts.blocks,
        notes=session.voices.struck,
        sounding=len(session.sounding),
        queue=session.outstanding,
        late=counts.late,
        dropped=counts.dropped,
        duplicates=counts.duplicates,
        gaps=counts.gaps,
        repaired=counts.repaired,
        compute_us=session.compute.span(),
        queue_us=session.queue.span(),
    )
