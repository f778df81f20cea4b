"""The thread around a link: a ring of blocks on the way out, events on the way in."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from bridge.wire import protocol as wire
from bridge.wire.bell import Bell
from bridge.wire.blocks import Block, joined, leading
from bridge.wire.link import Link, State

PUMP_S = 0.25


@dataclass(slots=True)
class Mark:
    """A place in the ring: the flush or configuration asked for there, and whether it was answered."""

    what: str | wire.Configure
    seq: int | None = None
    done: bool = False


class Carrier:
    """Pumps a link on its own thread. Whatever both threads touch is guarded by `changed`.

    Args:
        link: the link; from now on this thread's alone, apart from reading its state.
        bell: the one that the link listens to.
        lossless: keep what waits in the ring until there is a first session.
    """

    def __init__(self, link: Link, bell: Bell, *, lossless: bool) -> None:
        self.link = link
        self.changed = threading.Condition()
        self.held = 0  # samples in the ring
        self.dropped = 0  # blocks
        self.broken: BaseException | None = None  # what ended the thread
        self._events: deque[wire.Events] = deque()
        self._bell, self._lossless = bell, lossless
        self._ring: deque[Block | Mark] = deque()
        self._marks: deque[Mark] = deque()  # flushes that are sent but not answered
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="dawbridge-link", daemon=True)
        self._thread.start()

    def put(self, item: Block | Mark) -> None:
        """Add to the ring."""
        with self.changed:
            self._ring.append(item)
            self.held += item.audio.shape[1] if isinstance(item, Block) else 0
        self._bell.ring()

    def take(self, timeout_s: float) -> list[wire.Events]:
        """Events that came; waits for the first."""
        with self.changed:
            self.changed.wait_for(lambda: bool(self._events) or self.broken is not None, timeout_s)
            events = list(self._events)
            self._events.clear()
        return events

    def wait(self, ready: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until `ready` or the thread broke; `False` if neither happened in time."""
        with self.changed:
            return self.changed.wait_for(lambda: ready() or self.broken is not None, timeout_s)

    def close(self) -> None:
        """Leave the sidecar and end the thread."""
        if not self._closing:
            self._closing = True
            self._bell.ring()
            self._thread.join()
            self._bell.close()

    def _run(self) -> None:
        try:
            while not self._closing:
                self._send_what_may()
                self._publish(self.link.pump(PUMP_S))
        except BaseException as error:
            self.broken = error
        finally:
            self._publish(self.link.close())

    def _send_what_may(self) -> None:
        """From the ring to the wire, as far as credit goes."""
        if self.link.state is not State.READY:
            self._empty()
            return
        while self._ring:
            item = self._ring[0]
            count = 1
            if isinstance(item, Mark):
                self._carry_out(item)
            elif not (count := self._send_blocks(item)):
                return
            with self.changed:
                for _ in range(count):
                    taken = self._ring.popleft()
                    self.held -= taken.audio.shape[1] if isinstance(taken, Block) else 0
                self.changed.notify_all()

    def _send_blocks(self, first: Block) -> int:
        """Send the blocks that travel together; how many, 0 if none may go now."""
        with self.changed:
            run = leading(self._ring, self.link.due(first), self.link.hello.rate)
        return len(run) if run and self.link.send(joined(run)) else 0

    def _carry_out(self, mark: Mark) -> None:
        if isinstance(mark.what, wire.Configure):
            self.link.configure(mark.what)
        else:
            mark.seq = self.link.flush(mark.what)
            self._marks.append(mark)

    def _empty(self) -> None:
        """Without a session nobody hears what waits, and late notes are worse than missing ones."""
        self._marks.clear()
        if self._lossless and self.link.losses == 0:
            return
        with self.changed:
            while self._ring:
                item = self._ring.popleft()
                if isinstance(item, Block):
                    self.dropped += 1
                elif isinstance(item.what, wire.Configure):
                    self.link.configure(item.what)
            self.held = 0

    def _publish(self, events: list[wire.Events]) -> None:
        with self.changed:
            self._events.extend(events)
            while self._marks and (self._marks[0].seq or 0) <= self.link.acknowledged:
                self._marks.popleft().done = True
            self.changed.notify_all()
