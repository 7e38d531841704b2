"""A tidegate peer for asyncio, both roles, written from SPEC.md and the .proto file. Rule ids name SPEC.md's rules."""

import asyncio
import collections
import os
import random
import struct
import time
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FILES = descriptor_pb2.FileDescriptorSet.FromString(
    Path(os.environ.get("TIDEGATE_DESCRIPTOR", Path(__file__).parents[2] / "proto/tidegate.binpb")).read_bytes())
_POOL = descriptor_pool.DescriptorPool()
for _file in _FILES.file:
    _POOL.Add(_file)
Frame = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("tidegate.v1.Frame"))
CODES = {v.name.removeprefix("CODE_"): v.number for v in _POOL.FindEnumTypeByName("tidegate.v1.Code").values}
NAMES = {number: name for name, number in CODES.items()}
FINAL = {"NOT_TIDEGATE", "MESSAGE_SIZE", "VERSION", "UNAUTHORIZED", "NO_PIPELINE", "ROLE", "FEATURE"}  # RD-7
PUSHER, PULLER = 1, 2
ACK, NACK, REJECT, RELEASE = 1, 2, 3, 4
PREFACE = b"TIDEGATE"
MAX_MESSAGE = 16 << 20
HEARTBEAT = 2.0
BATCH = 64 << 10


class Closed(Exception):
    """The link is to be closed, or was, with this code."""

    def __init__(self, code, reason, by_peer=False):
        super().__init__(f"{code}: {reason}")
        self.code, self.reason, self.by_peer = code, reason, by_peer


def parse(endpoint):
    """(open, serve, pipeline) of tcp://host:port/pipeline or unix:///path#pipeline."""
    scheme, _, rest = endpoint.partition("://")
    if scheme == "unix":
        path, _, pipeline = rest.partition("#")
        return (lambda: asyncio.open_unix_connection(path), lambda cb: asyncio.start_unix_server(cb, path), pipeline)
    if scheme != "tcp":
        raise ValueError(f"endpoint {endpoint!r}: the scheme must be tcp or unix")
    place, _, pipeline = rest.partition("/")
    host, _, port = place.rpartition(":") if ":" in place.rpartition("]")[2] else (place, "", "8433")
    host, port = host.strip("[]"), int(port)
    return (lambda: asyncio.open_connection(host, port), lambda cb: asyncio.start_server(cb, host, port), pipeline)


class Link:
    """One connection after its handshake: frames in, frames out, signs of life."""

    def __init__(self, reader, writer, hello):
        self.reader, self.writer, self.hello = reader, writer, hello
        self.last_sent = time.monotonic()
        self.end = self.close_sent = False
        self.heard = True

    def send(self, **body):
        octets = Frame(**body).SerializeToString()
        self.writer.write(struct.pack(">I", len(octets)) + octets)
        self.last_sent = time.monotonic()

    def close(self, code, reason=""):
        if not self.close_sent:
            self.close_sent = True
            self.send(close={"code": CODES[code], "reason": reason[:250]})

    async def beat(self):
        """LV-1, LV-3: be heard, and give up after three silent intervals."""
        silent = 0
        due = time.monotonic()
        while True:
            await asyncio.sleep(HEARTBEAT / 2)
            if time.monotonic() - self.last_sent >= HEARTBEAT / 2:
                self.send(ping={"data": 1})
            if time.monotonic() < due:
                continue
            due = time.monotonic() + self.hello.heartbeat_ms / 1000
            silent = 0 if self.heard else silent + 1
            self.heard = False
            if silent > 3:
                self.close("SILENT", "nothing heard for three intervals")
                self.writer.transport.abort()


async def read_frame(reader, first=False, limit=65536):
    length = struct.unpack(">I", await reader.readexactly(4))[0]
    if length == 0:
        raise Closed("MALFORMED", "FR-2: a frame of length 0")
    if length > (16384 if first else limit):
        raise Closed("TOO_LARGE", f"FR-3: a frame of {length} octets")
    octets = await reader.readexactly(length)
    try:
        frame = Frame.FromString(octets)
    except Exception as error:
        raise Closed("MALFORMED", f"FR-4: {error}") from error
    if length > 65536 and frame.WhichOneof("body") != "deliver":
        raise Closed("TOO_LARGE", f"FR-3: a control frame of {length} octets")
    return frame


class Socket:
    """What both roles have in common: endpoints, handshakes, links, reconnecting."""

    role = 0

    def __init__(self, bind=(), connect=(), token=b"", name="python"):
        self.instance = os.urandom(16)
        self.token, self.name = token, name
        self.binds, self.connects = list(bind), list(connect)
        self.links, self.servers, self.tasks, self.ports = [], [], set(), []
        self.changed = asyncio.Event()
        self.refused = None
        self.stopping = False
        self.dialing = 0

    async def __aenter__(self):
        for endpoint in self.binds:
            _, serve, pipeline = parse(endpoint)
            server = await serve(lambda r, w, p=pipeline: self.accept(r, w, p))
            self.servers.append(server)
            self.ports.append(server.sockets[0].getsockname()[1])
        for slot, endpoint in enumerate(self.connects):
            self.dialing += 1
            self.spawn(self.dial(endpoint, slot))
        return self

    async def __aexit__(self, *_):
        self.stopping = True
        for server in self.servers:
            server.close()
        for link in self.links:
            link.close("GOING_AWAY", "stopping")
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def spawn(self, work):
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def notify(self):
        self.changed.set()
        self.changed = asyncio.Event()

    async def until(self, condition):
        while not condition():
            if self.refused:
                raise self.refused
            await self.changed.wait()

    def hello(self, pipeline, **more):
        return {"version_min": 1, "version_max": 1, "role": self.role, "instance": self.instance, "name": self.name,
                "pipeline": pipeline, "max_message": MAX_MESSAGE, "heartbeat_ms": int(HEARTBEAT * 1000), **more}

    def check(self, hello, pipeline, acceptor):
        """HS-2: version, token, pipeline, role, sizes, features, in this order."""
        if not hello.version_min <= 1 <= hello.version_max:
            raise Closed("VERSION", f"HS-3: versions {hello.version_min} to {hello.version_max}, this side 1 to 1")
        if acceptor and self.token and hello.token != self.token:
            raise Closed("UNAUTHORIZED", "HS-4: the token is missing or wrong")
        if hello.pipeline != pipeline:
            raise Closed("NO_PIPELINE", "HS-5: no such pipeline, or not for you")
        if hello.role != 3 - self.role:
            raise Closed("ROLE", "HS-6: one side must be a pusher, the other a puller")
        if len(hello.instance) != 16 or not 100 <= hello.heartbeat_ms <= 60000:
            raise Closed("MALFORMED", "HS-8, LV-1: instance or heartbeat_ms")
        sizes = (MAX_MESSAGE, hello.max_message) if self.role == PUSHER else (hello.max_message, MAX_MESSAGE)
        if sizes[0] > sizes[1]:
            raise Closed("MESSAGE_SIZE", f"HS-7: the pusher sends up to {sizes[0]}, the puller takes {sizes[1]}")
        if hello.required:
            raise Closed("FEATURE", f"HS-10: {hello.required[0]} is not offered")

    async def greet(self, reader):
        if (preface := await reader.readexactly(8)) != PREFACE:
            raise Closed("NOT_TIDEGATE", f"FR-1: the stream begins with {preface!r}")
        frame = await read_frame(reader, first=True)
        if frame.WhichOneof("body") == "close":
            raise Closed(NAMES.get(frame.close.code, "INTERNAL"), frame.close.reason, by_peer=True)
        if frame.WhichOneof("body") != "hello":
            raise Closed("UNEXPECTED", "FR-5: the first frame is not Hello")
        return frame.hello

    async def accept(self, reader, writer, pipeline):
        link = Link(reader, writer, None)
        try:
            link.hello = await asyncio.wait_for(self.greet(reader), 5)  # HS-11
            self.check(link.hello, pipeline, acceptor=True)
        except (Closed, asyncio.TimeoutError) as error:
            writer.write(PREFACE)
            link.close(getattr(error, "code", "TOO_SLOW"), getattr(error, "reason", "HS-11: no Hello"))
            writer.close()
            return
        except (OSError, EOFError):
            return
        writer.write(PREFACE)
        link.send(hello=self.hello(pipeline))
        task = asyncio.current_task()
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        for old in self.links:  # HS-9
            if (old.hello.instance, old.hello.slot) == (link.hello.instance, link.hello.slot) and old.hello.slot:
                old.close("REPLACED", "a newer link is here")
                old.writer.transport.abort()
        await self.run(link)

    async def dial(self, endpoint, slot):
        opener, _, pipeline = parse(endpoint)
        wait, generation = 0.05, 0
        while not self.stopping:
            generation += 1
            try:
                reader, writer = await opener()
                more = {"slot": slot + 1, "generation": generation, "token": self.token}
                link = Link(reader, writer, None)
                writer.write(PREFACE)
                link.send(hello=self.hello(pipeline, **more))
                try:
                    link.hello = await asyncio.wait_for(self.greet(reader), 5)
                    self.check(link.hello, pipeline, acceptor=False)
                except Closed as error:
                    if not error.by_peer:
                        link.close(error.code, error.reason)
                    writer.close()
                    if error.code in FINAL:
                        self.refused = error
                        self.notify()
                        return
                    raise
                if await self.run(link):
                    wait = 0.05  # RD-6: an outcome has come
                if link.end:
                    break  # ST-6
            except (OSError, EOFError, Closed, asyncio.TimeoutError):
                pass
            await asyncio.sleep(wait * (1 + random.random() / 2))
            wait = min(wait * 2, 10)
        self.dialing -= 1
        self.notify()

    async def run(self, link):
        """Reads a link until it ends. True if something was settled over it."""
        beat = self.spawn(link.beat())
        link.settled = False
        self.links.append(link)
        self.opened(link)
        self.notify()
        limit = 65536 if self.role == PUSHER else max(262144, MAX_MESSAGE + 65536)
        try:
            while True:
                frame = await read_frame(link.reader, limit=limit)
                link.heard = True
                kind = frame.WhichOneof("body")
                if kind == "ping":
                    link.send(pong={"data": frame.ping.data})
                elif kind == "close":
                    link.close("NORMAL")
                    break
                elif kind not in ("pong", None):  # GR-1
                    handler = getattr(self, "on_" + kind, None)
                    if handler is None:
                        raise Closed("UNEXPECTED", f"FR-5: {kind} from this role")
                    handler(link, getattr(frame, kind))
        except Closed as error:
            link.close(error.code, error.reason)
        except (OSError, EOFError):
            pass
        finally:
            beat.cancel()
            self.links.remove(link)
            self.lost(link)
            self.notify()
            try:
                await asyncio.wait_for(link.writer.drain(), 1)
            except (OSError, asyncio.TimeoutError):
                pass
            link.writer.close()
        return link.settled


class Message:
    __slots__ = ("number", "payload", "headers", "attempt")

    def __init__(self, number, payload, headers):
        self.number, self.payload, self.headers, self.attempt = number, payload, headers, 1

    def size(self):
        return len(self.payload) + sum(len(k.encode()) + len(v) for k, v in self.headers)


class Push(Socket):
    """async with Push(bind=[...]) as push: await push.send(b"..."); await push.finish()"""

    role = PUSHER

    def __init__(self, high_water_mark=1000, retry=(0.1, 30.0), **options):
        super().__init__(**options)
        self.hwm, self.retry = high_water_mark, retry
        self.queue, self.delayed, self.turn = collections.deque(), 0, 0
        self.stats = dict.fromkeys(("accepted", "acked", "rejected", "nacked", "redelivered"), 0)
        self.finished = False

    async def send(self, payload, headers=()):
        """Waits at the high-water mark; messages in flight are bounded by what pullers granted."""
        while len(self.queue) + self.delayed >= max(self.hwm, 1):
            await self.until(lambda: len(self.queue) + self.delayed < max(self.hwm, 1))
        self.queue.append(Message(self.stats["accepted"], payload, list(headers)))
        self.stats["accepted"] += 1
        if len(self.queue) == 1 or len(self.queue) >= self.hwm:
            asyncio.get_running_loop().call_soon(self.pump)

    def opened(self, link):
        link.next_id = link.octets = link.limit = link.byte_limit = 0
        link.flight, link.leaving, link.handed = {}, False, 0
        if self.finished:
            self.goodbye(link)  # ST-3

    def may_send(self, link):
        return (link.next_id < link.limit and link.octets < link.byte_limit and len(link.flight) < 100_000
                and not (link.leaving or link.close_sent) and link.writer.transport.get_write_buffer_size() < 1 << 20)

    def pump(self):
        """RR-1: one message to each link in turn, gathered into one Deliver a link."""
        ready = [link for link in self.links if self.may_send(link)]
        batches = {id(link): [] for link in ready}
        filled = 0
        while self.queue and ready and filled < BATCH:
            self.turn += 1
            link = ready[self.turn % len(ready)]
            message = self.queue.popleft()
            filled += message.size()
            link.flight[link.next_id] = message
            link.next_id += 1
            link.octets += message.size()
            batches[id(link)].append(message)
            self.stats["redelivered"] += message.attempt > 1
            if not self.may_send(link):
                ready.remove(link)
        for link in self.links:
            if batch := batches.get(id(link)):
                self.deliver(link, batch)
        if self.queue and ready:
            asyncio.get_running_loop().call_soon(self.pump)
        self.notify()

    def deliver(self, link, batch):
        frame, expected = Frame(), batch[0].number
        frame.deliver.first_id, frame.deliver.first_number = link.next_id - len(batch), expected
        for message in batch:
            out = frame.deliver.messages.add(payload=message.payload, gap=message.number - expected)
            out.attempt = message.attempt if message.attempt > 1 else 0
            for name, value in message.headers:
                out.headers.add(name=name, value=value)
            expected = message.number + 1
        octets = frame.SerializeToString()
        if len(octets) > 200_000 and len(batch) > 1:  # FR-3
            for message in batch:
                link.next_id -= 1
            for message in batch:
                link.next_id += 1
                self.deliver(link, [message])
            return
        link.writer.write(struct.pack(">I", len(octets)) + octets)
        link.last_sent = time.monotonic()

    def on_ack(self, link, ack):
        for outcome in ack.outcomes:  # OC-2, OC-10
            if not outcome.count or outcome.verdict not in (ACK, NACK, REJECT, RELEASE):
                raise Closed("MALFORMED", "OC-10: count or verdict")
            if outcome.first + outcome.count > link.next_id:
                raise Closed("UNKNOWN_DELIVERY", f"OC-2: {outcome.first + outcome.count - 1} was never sent")
        back = []
        for outcome in ack.outcomes:
            link.settled = True
            wanted = range(outcome.first, outcome.first + outcome.count)
            if len(wanted) > len(link.flight):
                wanted = [i for i in link.flight if i in wanted]
            for number in wanted:
                if (message := link.flight.pop(number, None)) is not None:  # OC-3
                    self.settle(message, outcome, back)
        self.queue.extendleft(sorted(back, key=lambda m: -m.number))
        link.limit = max(link.limit, ack.message_limit)  # CR-1
        link.byte_limit = max(link.byte_limit, ack.byte_limit)
        if ack.recall or ack.leaving:  # RC-1
            octets = max(0, link.byte_limit - link.octets)
            link.next_id, link.octets = max(link.limit, link.next_id), link.octets + octets
            link.send(skip={"next_id": link.next_id, "bytes": octets})
        link.leaving |= ack.leaving
        self.pump()

    def settle(self, message, outcome, back):
        if outcome.verdict == ACK:
            self.stats["acked"] += 1
        elif outcome.verdict == REJECT:
            self.stats["rejected"] += 1
        elif outcome.verdict == RELEASE:
            back.append(message)  # OC-8
        else:
            self.stats["nacked"] += 1
            grown = min(self.retry[0] * 2 ** (message.attempt - 1), self.retry[1])
            delay = max(grown, min(outcome.delay_ms / 1000, 300)) * (1 + random.random() / 4)  # OC-6
            message.attempt += 1
            self.delayed += 1
            asyncio.get_running_loop().call_later(delay, self.again, message)

    def again(self, message):
        self.delayed -= 1
        self.queue.appendleft(message)
        self.pump()

    def lost(self, link):
        """RD-3. Everything was handed to the transport: it may have been seen."""
        back = sorted(link.flight.values(), key=lambda m: -m.number)
        link.flight = {}
        for message in back:
            message.attempt += 1
        self.queue.extendleft(back)
        self.pump()

    def goodbye(self, link):
        link.send(end={})
        link.close("NORMAL", "the stream has ended")

    async def finish(self):
        """ST-2: all settled, then End on every link."""
        self.pump()
        await self.until(lambda: self.stats["accepted"] == self.stats["acked"] + self.stats["rejected"])
        self.finished = True
        for link in self.links:
            self.goodbye(link)
        try:
            await asyncio.wait_for(self.until(lambda: not self.links), 1)  # ST-4
        except asyncio.TimeoutError:
            pass
        return self.stats


class Delivery:
    __slots__ = ("pull", "link", "delivery", "id", "number", "attempt", "payload", "headers", "size")

    def ack(self):
        self.pull.settle(self, ACK)

    def nack(self, delay=0.0, reason=""):
        self.pull.settle(self, NACK, int(delay * 1000), reason)

    def reject(self, reason=""):
        self.pull.settle(self, REJECT, 0, reason)

    def release(self):
        self.pull.settle(self, RELEASE)


class Pull(Socket):
    """async with Pull(connect=[...]) as pull: async for delivery in pull: ...; delivery.ack()"""

    role = PULLER

    def __init__(self, window=1000, window_bytes=8 << 20, expect=None, **options):
        super().__init__(**options)
        self.window, self.window_bytes, self.expect = window, window_bytes, expect
        self.inbox, self.ended = collections.deque(), set()

    def opened(self, link):
        link.next_id = link.octets = link.done = link.done_octets = 0
        link.limit, link.byte_limit, link.outcomes, link.held, link.timer = 0, 0, [], 0, None
        self.send_ack(link)  # CR-10

    def send_ack(self, link):
        if link.timer:
            link.timer.cancel()
            link.timer = None
        if link.close_sent:
            return
        link.limit = link.done + self.window  # CR-5
        link.byte_limit = link.done_octets + self.window_bytes
        link.send(ack={"outcomes": link.outcomes, "message_limit": link.limit, "byte_limit": link.byte_limit})
        link.outcomes, link.held = [], 0

    def settle(self, delivery, verdict, delay_ms=0, reason=""):
        link = delivery.link
        link.settled = True
        link.done, link.done_octets = link.done + 1, link.done_octets + delivery.size
        last = link.outcomes[-1] if link.outcomes else None
        if last and verdict == last["verdict"] == ACK and last["first"] + last["count"] == delivery.delivery:
            last["count"] += 1
        else:
            link.outcomes.append({"first": delivery.delivery, "count": 1, "verdict": verdict,
                                  "delay_ms": delay_ms, "reason": reason[:250]})
        link.held += 1
        if link.held * 2 >= self.window or not self.inbox or len(link.outcomes) > 100:  # OC-5
            self.send_ack(link)
        elif not link.timer:
            link.timer = asyncio.get_running_loop().call_later(0.001, self.send_ack, link)

    def on_deliver(self, link, deliver):
        if deliver.first_id != link.next_id or not deliver.messages:
            raise Closed("MALFORMED", f"DL-1, DL-6: first_id is {deliver.first_id}, not {link.next_id}")
        number, batch = deliver.first_number - 1, []
        for message in deliver.messages:
            size = len(message.payload) + sum(len(h.name.encode()) + len(h.value) for h in message.headers)
            if link.next_id >= link.limit or link.octets >= link.byte_limit:
                raise Closed("CREDIT", f"CR-3: delivery {link.next_id} is beyond the limits")
            if size > link.hello.max_message:
                raise Closed("MESSAGE_SIZE", f"DL-4: {size} octets")
            number += 1 + message.gap
            delivery = Delivery()
            delivery.pull, delivery.link, delivery.delivery, delivery.number = self, link, link.next_id, number
            delivery.attempt, delivery.payload, delivery.size = message.attempt or 1, message.payload, size
            delivery.id = f"{link.hello.instance.hex()}-{number}"
            delivery.headers = [(h.name, h.value) for h in message.headers]
            link.next_id, link.octets = link.next_id + 1, link.octets + size
            batch.append(delivery)
        self.inbox.extend(batch)
        self.notify()

    def on_skip(self, link, _):
        raise Closed("UNEXPECTED", "RC-3: a Skip without a recall")

    def on_end(self, link, _):
        if link.next_id != link.done:
            raise Closed("UNEXPECTED", "ST-7: End while deliveries are un-acked")
        link.end = True
        self.ended.add(link.hello.instance)

    def lost(self, link):
        self.inbox = collections.deque(d for d in self.inbox if d.link is not link)  # RD-5
        if link.timer:
            link.timer.cancel()

    def over(self):
        bound = len(self.ended) >= self.expect if self.expect is not None else not self.binds
        return bound and not self.dialing

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.inbox:
            for link in self.links:
                if link.outcomes:
                    self.send_ack(link)
            await self.until(lambda: self.inbox or self.over())
        if not self.inbox:
            raise StopAsyncIteration
        return self.inbox.popleft()
