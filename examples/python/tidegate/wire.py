"""Frames and links: reading and writing one connection."""

import asyncio
import contextlib
import os
import struct
import time
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

_HERE = Path(__file__).parents[3] / "proto/tidegate.binpb"
_SET = descriptor_pb2.FileDescriptorSet.FromString(Path(os.environ.get("TIDEGATE_DESCRIPTOR", _HERE)).read_bytes())
_POOL = descriptor_pool.DescriptorPool()
for _file in _SET.file:
    _POOL.Add(_file)
Frame = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("tidegate.v1.Frame"))
CODES = {v.name.removeprefix("CODE_"): v.number for v in _POOL.FindEnumTypeByName("tidegate.v1.Code").values}
NAMES = {number: name for name, number in CODES.items()}
PUSHER, PULLER = 1, 2
ACK, NACK, REJECT, RELEASE = 1, 2, 3, 4
PREFACE = b"TIDEGATE"
MAX_HELLO, MAX_CONTROL, MIN_DELIVER, DELIVER_TAG = 16_384, 65_536, 262_144, 0x12  # FR-3
MAX_COUNTER = 2**53 - 1  # FR-7
HEARTBEAT = 2.0
CLOSE_WAIT = 1.0


class Closed(Exception):
    """The link must be closed with this code, or was closed with it."""

    def __init__(self, code, reason, by_peer=False, after=0):
        super().__init__(f"{code}: {reason}")
        self.code, self.reason, self.by_peer, self.after = code, reason, by_peer, after


def counters(kind, body):
    """The counters in the body of a frame: each is at most MAX_COUNTER (FR-7)."""
    if kind == "ack":
        return [body.message_limit, body.byte_limit] + [outcome.first + outcome.count for outcome in body.outcomes]
    if kind == "deliver":
        return [body.first_id + len(body.messages), body.first_number]
    return {"skip": lambda: [body.next_id, body.bytes], "working": lambda: body.deliveries,
            "hello": lambda: [body.generation]}.get(kind, list)()


class Link:
    """One connection: frames in both directions, heartbeats, and an orderly close."""

    def __init__(self, reader, writer, frame_limit):
        self.reader, self.writer, self.limit = reader, writer, frame_limit
        self.hello, self.key, self.last_sent = None, None, time.monotonic()
        self.heard, self.closing, self.ended, self.settled, self.after = True, False, False, False, 0

    def send(self, **body):
        data = Frame(**body).SerializeToString()
        self.writer.write(struct.pack(">I", len(data)) + data)
        self.last_sent = time.monotonic()

    def close(self, code, reason=""):
        """Sends Close (ST-4). Reading continues until the peer answers, for at most CLOSE_WAIT."""
        if not self.closing:
            self.closing = True
            self.send(close={"code": CODES[code], "reason": reason[:250]})
            asyncio.get_running_loop().call_later(CLOSE_WAIT, self.writer.transport.abort)

    async def receive(self, first=False):
        """The next frame, as (name, content). The name is None for a frame of a later version (GR-1)."""
        length = struct.unpack(">I", await self.reader.readexactly(4))[0]
        self.heard = True
        if length == 0:
            raise Closed("MALFORMED", "FR-2: a frame of length 0")
        if length > (MAX_HELLO if first else self.limit):
            raise Closed("TOO_LARGE", f"FR-3: a frame of {length} bytes")
        data = bytearray(await self.reader.readexactly(1))
        if length > MAX_CONTROL and data[0] != DELIVER_TAG:
            raise Closed("TOO_LARGE", f"FR-3: a control frame of {length} bytes")
        while len(data) < length:  # each part proves that the peer is alive: LV-2
            part = await self.reader.read(min(length - len(data), MAX_CONTROL))
            if not part:
                raise asyncio.IncompleteReadError(bytes(data), length)
            data += part
            self.heard = True
        try:
            frame = Frame.FromString(bytes(data))
        except DecodeError as error:
            raise Closed("MALFORMED", f"FR-4: {error}") from error
        kind = frame.WhichOneof("body")
        if kind and max(counters(kind, getattr(frame, kind)), default=0) > MAX_COUNTER:
            raise Closed("MALFORMED", "FR-7: a counter above 2^53 - 1")
        return kind, getattr(frame, kind) if kind else None

    async def finish(self, answered=False):
        """Closes the socket after reading: closing it with unread bytes would discard unsent bytes (ST-4)."""
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            while not answered and await self.reader.read(MAX_CONTROL):
                pass
            await asyncio.wait_for(self.writer.drain(), CLOSE_WAIT)
        self.writer.close()

    async def beat(self):
        """Sends heartbeats (LV-1), and closes the link after three silent intervals (LV-3)."""
        silent, due = 0, time.monotonic()
        while not self.closing and silent < 3:
            if time.monotonic() >= due:
                due = time.monotonic() + self.hello.heartbeat_ms / 1000
                silent, self.heard = 0 if self.heard else silent + 1, False
            if time.monotonic() - self.last_sent >= HEARTBEAT / 2:
                self.send(ping={"data": 1})
            await asyncio.sleep(HEARTBEAT / 2)
        self.close("SILENT", "LV-3: nothing was received for three intervals")
