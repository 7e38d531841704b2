"""The Python peer against tests/vectors, with a runner that knows only its README."""

import asyncio
import collections
import contextlib
import json
import struct
import unittest
from pathlib import Path

from tidegate import Pull, Push, wire

ROOT = Path(__file__).parents[2] / "tests/vectors"
PATIENCE = 6  # the times of the vectors are for a machine that has nothing else to do
AT_ONCE = 8
PASSED_OVER = {"ping", "pong", "limits", "request", "working"}
STEPS_WITHOUT = {"app_leave"}  # application steps that this peer does not have (ST-1)
PROFILES = {"pusher-core", "puller-core"}


class Failed(Exception):
    pass


def read(file):
    return json.loads((ROOT / file).read_text())


def scripts(vector):
    """The preludes of a vector, and then the vector itself."""
    return (scripts(read(vector["prelude"])) if vector["prelude"] else []) + [vector]


def only(value):
    (name, content), = value.items()
    return name, content


def plain(message):
    """The fields of a frame, in the words of the vectors."""
    def shown(field, value):
        if field.type in WIDE:
            return str(value)
        if field.enum_type:
            return field.enum_type.values_by_number[value].name
        return value.hex() if isinstance(value, bytes) else value

    def content(field):
        value = getattr(message, field.name)
        repeated = not isinstance(value, (str, bytes, int))
        return [shown(field, one) for one in value] if repeated else shown(field, value)

    return {field.name: content(field) for field in message.DESCRIPTOR.fields}


Descriptor = type(wire.Frame.DESCRIPTOR.fields[0])
WIDE = {Descriptor.TYPE_UINT64, Descriptor.TYPE_INT64, Descriptor.TYPE_SINT64, Descriptor.TYPE_FIXED64}


def deliveries(deliver):
    number = deliver.first_number
    for index, message in enumerate(deliver.messages):
        number += message.gap
        size = len(message.payload) + sum(len(h.name.encode()) + len(h.value) for h in message.headers)
        yield {"delivery": {"id": str(deliver.first_id + index), "number": str(number), "size": str(size),
                            "attempt": message.attempt or 1, "tracked": message.tracked}}
        number += 1


def parts(ack):
    for outcome in ack.outcomes:
        fields = plain(outcome)
        for delivery in range(outcome.first, outcome.first + outcome.count):
            yield {"outcome": {"delivery": str(delivery), **{f: fields[f] for f in ("verdict", "delay_ms", "reason")}}}
    yield {"limits": {"message_limit": str(ack.message_limit), "byte_limit": str(ack.byte_limit)}}
    if ack.recall or ack.leaving:
        yield {"request": {"recall": ack.recall, "leaving": ack.leaving}}


def split(frame):
    """The events of a frame."""
    kind = frame.WhichOneof("body")
    if kind is None:
        return [{"unknown": {}}]
    body = getattr(frame, kind)
    if kind == "deliver":
        return list(deliveries(body))
    if kind == "ack":
        return list(parts(body))
    if kind == "close":
        return [{"close": {"code": wire.NAMES.get(body.code, "INTERNAL"), "reason": body.reason,
                           "retry_after_ms": body.retry_after_ms}}]
    return [{kind: plain(body)}]


def matches(expected, event, names):
    """Whether an event is the expected one. If so, keeps the names that it gives."""
    (kind, fields), (event_kind, found) = only(expected), only(event)
    if kind != event_kind:
        return False
    given = dict(names)
    for field, wanted in fields.items():
        value = found[field]
        if not isinstance(wanted, dict):
            same = value == wanted
        elif "same" in wanted:
            same = given.setdefault(wanted["same"], value) == value
        else:
            same = int(value) >= int(wanted["at_least"])
        if not same:
            return False
    names.update(given)
    return True


class Connection:
    def __init__(self, reader, writer):
        self.reader, self.writer, self.unread = reader, writer, bytearray()
        self.greeted, self.ended, self.events = False, False, collections.deque()

    def take(self):
        """Turns what has arrived into events."""
        if not self.greeted and len(self.unread) >= 8:
            if self.unread[:8] != wire.PREFACE:
                raise Failed(f"the peer begins with {bytes(self.unread[:8])!r}")
            self.greeted = True
            del self.unread[:8]
        while self.greeted and len(self.unread) >= 4:
            length, = struct.unpack(">I", self.unread[:4])
            if len(self.unread) < 4 + length:
                break
            frame = wire.Frame.FromString(bytes(self.unread[4:4 + length]))
            del self.unread[:4 + length]
            if frame.WhichOneof("body") == "ping":
                pong = wire.Frame(pong={"data": frame.ping.data}).SerializeToString()
                self.writer.write(struct.pack(">I", len(pong)) + pong)
            self.events.extend(split(frame))

    async def next(self, deadline):
        """The next event, or None if there was none in time."""
        while not self.events:
            if self.ended:
                raise Failed("the connection has ended")
            try:
                async with asyncio.timeout_at(deadline):
                    data = await self.reader.read(1 << 16)
            except TimeoutError:
                return None
            except OSError:
                data = b""
            self.unread += data
            self.take()
            if not data:
                self.ended = True
                self.events.append({"disconnected": {}})
        return self.events.popleft()

    async def expect(self, events, in_order, deadline, names):
        expected = list(events)
        while expected:
            event = await self.next(deadline)
            if event is None:
                raise Failed(f"in time did not come: {expected}")
            wanted = next((e for e in (expected[:1] if in_order else expected) if matches(e, event, names)), None)
            if wanted is not None:
                expected.remove(wanted)
            elif only(event)[0] not in PASSED_OVER:
                raise Failed(f"instead of {expected} came {event}")

    async def expect_nothing(self, until):
        while event := await self.next(until):
            if only(event)[0] not in PASSED_OVER:
                raise Failed(f"unexpected: {event}")


class Runner:
    """Runs one vector against a new peer."""

    def __init__(self, settings):
        self.settings, self.connections, self.names = settings, {}, {}
        self.held, self.finishing, self.server, self.accepted = {}, None, None, asyncio.Queue()

    async def run(self, vector):
        try:
            await self.start()
            for script in scripts(vector):
                for step in script["steps"]:
                    kind, content = only(step)
                    try:
                        await getattr(self, kind)(**content)
                    except Exception as error:
                        raise Failed(f"{error!r} in the step {step}") from error
        finally:
            await self.stop()

    async def start(self):
        connects = self.settings["side"] == "connector"
        if connects:
            self.server = await asyncio.start_server(lambda *streams: self.accepted.put(streams), "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1] if connects else 0
        options = {"connect" if connects else "bind": [f"tcp://127.0.0.1:{port}/{self.settings['pipeline']}"],
                   "token": bytes.fromhex(self.settings["token"]), "max_message": int(self.settings["max_message"])}
        if self.settings["role"] == "pusher":
            self.peer = Push(**options)
        else:
            self.peer = Pull(window=int(self.settings["window_messages"]), expect=1,
                             window_bytes=int(self.settings["window_bytes"]), **options)
        await self.peer.__aenter__()

    async def stop(self):
        writers = [connection.writer for connection in self.connections.values()]
        if self.server:
            self.server.close()
        while not self.accepted.empty():
            writers.append(self.accepted.get_nowait()[1])
        for writer in writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        if self.finishing:
            self.finishing.cancel()
        await self.peer.__aexit__()
        await asyncio.sleep(0)  # closes what was aborted

    def deadline(self, milliseconds):
        return asyncio.get_running_loop().time() + milliseconds / 1000

    async def connect(self, connection):
        self.connections[connection] = Connection(*await asyncio.open_connection("127.0.0.1", self.peer.ports[0]))

    async def accept(self, connection, within_ms):
        streams = await asyncio.wait_for(self.accepted.get(), within_ms / 1000 * PATIENCE)
        self.connections[connection] = Connection(*streams)

    async def send(self, connection, files):
        self.connections[connection].writer.write(b"".join((ROOT / file).read_bytes() for file in files))

    async def expect(self, connection, within_ms, any_order, events):
        deadline = self.deadline(within_ms * PATIENCE)
        await self.connections[connection].expect(events, not any_order, deadline, self.names)

    async def expect_nothing(self, connection, for_ms):
        await self.connections[connection].expect_nothing(self.deadline(for_ms))

    async def wait(self, for_ms):
        await asyncio.sleep(for_ms / 1000)

    async def close(self, connection):
        self.connections.pop(connection).writer.close()

    async def app_send(self, count, size):
        for _ in range(int(count)):
            await self.peer.send(b"m" * int(size))

    async def app_finish(self):
        self.finishing = asyncio.ensure_future(self.peer.finish())

    async def app_receive(self, number, attempt, within_ms, **name):
        delivery = await asyncio.wait_for(anext(self.peer), within_ms / 1000 * PATIENCE)
        if (delivery.number, delivery.attempt) != (int(number), attempt):
            raise Failed(f"number and attempt are {delivery.number} and {delivery.attempt}")
        self.held[name["as"]] = delivery

    async def app_receive_nothing(self, for_ms):
        try:
            raise Failed(f"received: {await asyncio.wait_for(anext(self.peer), for_ms / 1000)}")
        except TimeoutError:
            pass

    async def app_settle(self, delivery, verdict, delay_ms, reason):
        verdicts = {"VERDICT_ACK": wire.ACK, "VERDICT_NACK": wire.NACK, "VERDICT_REJECT": wire.REJECT,
                    "VERDICT_RELEASE": wire.RELEASE}
        self.held.pop(delivery).settle(verdicts[verdict], delay_ms / 1000, reason)

    async def app_end(self, within_ms):
        async with asyncio.timeout(within_ms / 1000 * PATIENCE):
            if self.finishing:
                await self.finishing
            else:
                async for delivery in self.peer:
                    raise Failed(f"instead of the end came {delivery}")


def is_for_this_peer(entry, vector):
    steps = {only(step)[0] for script in scripts(vector) for step in script["steps"]}
    return (not vector.get("optional") and not steps & STEPS_WITHOUT
            and (entry["kind"] != "sequence" or set(vector["profiles"]) & PROFILES))


class Vectors(unittest.TestCase):
    def run_all(self, kind):
        async def one(entry, vector, room):
            async with room:
                try:
                    await asyncio.wait_for(Runner(vector["peer"]).run(vector), 120)
                except (Failed, OSError, TimeoutError) as error:
                    return f"{entry['name']}: {error}"

        async def work():
            entries = [entry for entry in read("manifest.json")["vectors"] if entry["kind"] == kind]
            vectors = [(entry, read(entry["description"])) for entry in entries]
            room = asyncio.Semaphore(AT_ONCE)
            chosen = [one(*both, room) for both in vectors if is_for_this_peer(*both)]
            self.assertGreater(len(chosen), 5)
            wrong = [error for error in await asyncio.gather(*chosen) if error]
            self.assertFalse(wrong, "\n" + "\n".join(wrong))
        asyncio.run(work())

    def test_sequences(self):
        self.run_all("sequence")

    def test_handshakes_are_answered_as_stated(self):
        self.run_all("handshake")

    def test_what_must_be_accepted_leaves_the_link_open(self):
        self.run_all("accepted")

    def test_bad_bytes_are_refused(self):
        self.run_all("bad")


if __name__ == "__main__":
    unittest.main()
