"""The puller: grants credit, returns deliveries to the application, and sends their outcomes."""

import asyncio
import collections
import dataclasses
import functools

from . import wire
from .peer import Peer
from .wire import ACK, NACK, PULLER, REJECT, RELEASE, Closed

@dataclasses.dataclass(slots=True)
class Delivery:
    pull: "Pull"
    link: wire.Link
    delivery: int
    number: int
    attempt: int
    size: int
    payload: bytes
    headers: list

    @property
    def id(self):  # DL-2
        return f"{self.link.hello.instance.hex()}-{self.number}"

    def settle(self, verdict, delay=0.0, reason=""):
        self.pull.settle(self, verdict, int(delay * 1000), reason)

    ack = functools.partialmethod(settle, ACK)
    nack = functools.partialmethod(settle, NACK)  # with `delay` in seconds and `reason`
    reject = functools.partialmethod(settle, REJECT)  # with `reason`
    release = functools.partialmethod(settle, RELEASE)


class Pull(Peer):
    role = PULLER

    def __init__(self, window=1000, window_bytes=8 << 20, expect=None, **options):
        super().__init__(**options)
        self.frame_limit = max(wire.MIN_DELIVER, self.max_message + wire.MAX_CONTROL)  # FR-3
        self.window, self.window_bytes, self.expect = max(window, 1), max(window_bytes, 1), expect
        self.inbox, self.ended, self.waiting = collections.deque(), set(), False

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.inbox:
            self.waiting = True
            for link in self.links:
                self.send_ack(link)  # OC-5, CR-6
            await self.until(lambda: self.inbox or self.over())
            self.waiting = False
        if not self.inbox:
            raise StopAsyncIteration
        delivery = self.inbox.popleft()
        delivery.link.queued -= 1
        return delivery

    def over(self):  # ST-6
        ended = len(self.ended) >= self.expect if self.expect is not None else not self.binds
        return ended and not self.dialing

    def opened(self, link):
        link.next_id = link.bytes = link.done = link.done_bytes = link.message_limit = link.byte_limit = 0
        link.outcomes, link.held, link.queued, link.timer = [], 0, 0, None
        self.send_ack(link)  # CR-10

    def lost(self, link):
        self.inbox = collections.deque(d for d in self.inbox if d.link is not link)  # RD-5
        if link.timer:
            link.timer.cancel()

    def send_ack(self, link):
        if link.timer:
            link.timer.cancel()
        if link.closing:
            return
        link.message_limit = max(link.message_limit, link.done + self.window, link.next_id + self.waiting)  # CR-5, CR-6
        link.byte_limit = max(link.byte_limit, link.done_bytes + self.window_bytes, link.bytes + self.waiting)
        link.message_limit = min(link.message_limit, wire.MAX_COUNTER)  # FR-7
        link.byte_limit = min(link.byte_limit, wire.MAX_COUNTER)
        link.send(ack={"outcomes": link.outcomes, "message_limit": link.message_limit, "byte_limit": link.byte_limit})
        link.outcomes, link.held, link.timer = [], 0, None

    def settle(self, delivery, verdict, delay_ms=0, reason=""):
        link = delivery.link
        link.settled, link.held = True, link.held + 1
        link.done, link.done_bytes = link.done + 1, link.done_bytes + delivery.size
        last = link.outcomes[-1] if link.outcomes else None
        if last and verdict == last["verdict"] == ACK and last["first"] + last["count"] == delivery.delivery:
            last["count"] += 1
        else:
            link.outcomes.append({"first": delivery.delivery, "count": 1, "verdict": verdict,
                                  "delay_ms": delay_ms, "reason": reason[:60]})
        if link.held * 2 >= self.window or not link.queued or len(link.outcomes) > 100:  # OC-5
            self.send_ack(link)
        elif not link.timer:
            link.timer = asyncio.get_running_loop().call_later(0.001, self.send_ack, link)

    def on_deliver(self, link, deliver):
        if deliver.first_id != link.next_id or not deliver.messages:
            raise Closed("MALFORMED", f"DL-1, DL-6: first_id is {deliver.first_id}, not {link.next_id}")
        if link.ended:
            raise Closed("UNEXPECTED", "ST-7: Deliver after End")
        number, next_id, taken, batch = deliver.first_number, link.next_id, link.bytes, []
        if deliver.messages[0].gap:
            raise Closed("MALFORMED", "DL-2: the first message of a batch has a gap")
        for message in deliver.messages:
            if len(message.headers) > 64 or not all(1 <= len(h.name.encode()) <= 256 for h in message.headers):
                raise Closed("MALFORMED", "DL-5: the headers of a message")
            headers = [(h.name, h.value) for h in message.headers]
            size = len(message.payload) + sum(len(name.encode()) + len(value) for name, value in headers)
            if next_id >= link.message_limit or taken >= link.byte_limit:
                raise Closed("CREDIT", f"CR-3: delivery {next_id} is beyond the limits")
            if size > link.hello.max_message:
                raise Closed("MESSAGE_SIZE", f"DL-4: {size} bytes")
            number += message.gap
            if not 0 <= number <= wire.MAX_COUNTER:
                raise Closed("MALFORMED", f"DL-2: number {number}")
            batch.append(Delivery(self, link, next_id, number, message.attempt or 1, size, message.payload, headers))
            number, next_id, taken = number + 1, next_id + 1, taken + size
        link.next_id, link.bytes = next_id, taken
        self.inbox.extend(batch)
        link.queued += len(batch)
        self.notify()

    def on_end(self, link, _):
        if link.ended:
            raise Closed("UNEXPECTED", "ST-7: End was received twice")
        # Deliveries that are left had timed out (OC-12), and other pullers have processed their messages.
        self.inbox = collections.deque(d for d in self.inbox if d.link is not link)
        link.ended, link.queued = True, 0
        self.ended.add(link.hello.instance)
