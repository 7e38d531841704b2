"""The pusher: sends messages round-robin to links with credit, and keeps each until it is settled."""

import asyncio
import collections
import dataclasses
import random

from .peer import Peer
from .wire import ACK, NACK, PUSHER, REJECT, RELEASE, Closed

BATCH, MAX_IN_FLIGHT, MAX_UNWRITTEN = 64 << 10, 100_000, 1 << 20  # CR-8


@dataclasses.dataclass(slots=True)
class Message:
    number: int
    payload: bytes
    headers: list
    attempt: int = 1

    def size(self):  # CR-4
        return len(self.payload) + sum(len(name.encode()) + len(value) for name, value in self.headers)


class Push(Peer):
    role = PUSHER

    def __init__(self, high_water_mark=1000, retry=(0.1, 30.0), **options):
        super().__init__(**options)
        self.hwm, self.retry = max(high_water_mark, 1), retry
        self.queue, self.delayed, self.finished = collections.deque(), 0, False
        self.stats = dict.fromkeys(("accepted", "acked", "rejected", "nacked", "redelivered"), 0)

    async def send(self, payload, headers=()):
        """Sends a message. Waits while the number of messages without a puller is at the high-water mark."""
        while len(self.queue) + self.delayed >= self.hwm:
            await self.until(lambda: len(self.queue) + self.delayed < self.hwm)
        self.queue.append(Message(self.stats["accepted"], payload, list(headers)))
        self.stats["accepted"] += 1
        if len(self.queue) == 1 or len(self.queue) >= self.hwm:
            asyncio.get_running_loop().call_soon(self.pump)

    async def finish(self):
        """Waits until all messages are settled, and then sends End on every link (ST-2)."""
        await self.until(lambda: self.stats["accepted"] == self.stats["acked"] + self.stats["rejected"])
        self.finished = True
        for link in self.links:
            self.opened(link)
        await self.unlinked()
        return self.stats

    def opened(self, link):
        if self.finished:  # also for new links: ST-3
            link.send(end={})
            return link.close("NORMAL", "the stream has ended")
        link.next_id = link.bytes = link.message_limit = link.byte_limit = 0
        link.flight, link.leaving, link.skipped = {}, False, collections.deque(maxlen=64)  # OC-2

    def lost(self, link):
        """Requeues all messages of a link. They may have been received, so each counts as an attempt (RD-3)."""
        for message in sorted(link.flight.values(), key=lambda m: -m.number):
            message.attempt += 1
            self.queue.appendleft(message)
        self.pump()

    def may_send(self, link):
        return (link.next_id < link.message_limit and link.bytes < link.byte_limit  # CR-2
                and len(link.flight) < MAX_IN_FLIGHT and not link.leaving and not link.closing
                and link.writer.transport.get_write_buffer_size() < MAX_UNWRITTEN)

    def pump(self):
        """Gives messages to the links in turn (RR-1), in one Deliver per link."""
        ready, batches, filled = collections.deque(filter(self.may_send, self.links)), {}, 0
        while self.queue and ready and filled < BATCH:
            link, message = ready.popleft(), self.queue.popleft()
            link.flight[link.next_id] = message
            batches.setdefault(link, []).append((link.next_id, message))
            link.next_id, link.bytes, filled = link.next_id + 1, link.bytes + message.size(), filled + message.size()
            self.stats["redelivered"] += message.attempt > 1
            if self.may_send(link):
                ready.append(link)
        for link, batch in batches.items():
            self.deliver(link, batch)
            self.links.append(self.links.pop(self.links.index(link)))  # its next turn is the last one
        if self.queue and ready:
            asyncio.get_running_loop().call_soon(self.pump)
        self.notify()

    def deliver(self, link, batch):
        """Sends a batch in one Deliver (DL-1 to DL-3)."""
        before = [batch[0][1].number - 1] + [message.number for _, message in batch]
        link.send(deliver={"first_id": batch[0][0], "first_number": batch[0][1].number, "messages": [
            {"payload": m.payload, "gap": m.number - last - 1, "attempt": m.attempt if m.attempt > 1 else 0,
             "headers": [{"name": name, "value": value} for name, value in m.headers]}
            for last, (_, m) in zip(before, batch)]})

    def on_ack(self, link, ack):
        for outcome in ack.outcomes:  # FR-4: the whole frame is checked before any of it takes effect
            past = outcome.first + outcome.count
            if not outcome.count or outcome.verdict not in (ACK, NACK, REJECT, RELEASE):
                raise Closed("MALFORMED", "OC-10: invalid count or verdict")
            if past > link.next_id or any(first < past and outcome.first < end for first, end in link.skipped):
                raise Closed("UNKNOWN_DELIVERY", f"OC-2: {outcome.first} to {past - 1} were not all sent")
        for outcome in ack.outcomes:
            link.settled = True
            ids = range(outcome.first, outcome.first + outcome.count)
            ids = ids if len(ids) <= len(link.flight) else [i for i in link.flight if i in ids]
            for message in [link.flight.pop(i) for i in reversed(ids) if i in link.flight]:  # OC-3
                self.settle(message, outcome)
        link.message_limit = max(link.message_limit, ack.message_limit)  # CR-1
        link.byte_limit = max(link.byte_limit, ack.byte_limit)
        if ack.recall or ack.leaving:  # RC-1
            unused = max(0, link.byte_limit - link.bytes)
            if link.message_limit > link.next_id:
                link.skipped.append((link.next_id, link.message_limit))
            link.next_id, link.bytes = max(link.message_limit, link.next_id), link.bytes + unused
            link.send(skip={"next_id": link.next_id, "bytes": unused})
        link.leaving |= ack.leaving  # ST-1
        self.pump()

    def on_working(self, link, working):
        def unknown(delivery):
            return delivery >= link.next_id or any(first <= delivery < end for first, end in link.skipped)

        if any(map(unknown, working.deliveries)):
            raise Closed("UNKNOWN_DELIVERY", "OC-13: Working for a delivery that was never sent")

    def settle(self, message, outcome):
        if outcome.verdict == RELEASE:
            self.queue.appendleft(message)  # OC-8
        elif outcome.verdict == NACK:  # OC-6
            self.stats["nacked"] += 1
            grown = min(self.retry[0] * 2 ** min(message.attempt - 1, 30), self.retry[1])
            asked = min(max(outcome.delay_ms, 10) / 1000, 300)
            delay = (asked if outcome.delay_ms else grown) * (1 + random.random() / 4)
            message.attempt, self.delayed = message.attempt + 1, self.delayed + 1
            asyncio.get_running_loop().call_later(delay, self.again, message)
        else:
            self.stats["acked" if outcome.verdict == ACK else "rejected"] += 1

    def again(self, message):
        self.delayed -= 1
        self.queue.appendleft(message)
        self.pump()
