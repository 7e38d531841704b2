"""Tests of the Python peer with itself."""

import asyncio
import json
import struct
import unittest
import unittest.mock
from pathlib import Path

from tidegate import Pull, Push, push as pushing, wire


def run(work):
    asyncio.run(asyncio.wait_for(work, 60))


def described(message):
    """A message in the form of the golden frames: every field by name, bytes in hexadecimal, 64 bits as strings."""
    def shown(field, value):
        if field.message_type:
            return described(value)
        if field.enum_type and field.name != "code":  # codes stay numbers: later versions may add codes (ER-2)
            return field.enum_type.values_by_number[value].name
        if field.type in WIDE:
            return str(value)
        return value.hex() if isinstance(value, bytes) else value

    def content(field):
        value = getattr(message, field.name)
        repeated = not isinstance(value, (str, bytes, int))
        return [shown(field, one) for one in value] if repeated else shown(field, value)

    return {field.name: content(field) for field in message.DESCRIPTOR.fields}


Field = type(wire.Frame.DESCRIPTOR.fields[0])
WIDE = {Field.TYPE_UINT64, Field.TYPE_INT64, Field.TYPE_SINT64, Field.TYPE_FIXED64}


class GoldenFrames(unittest.TestCase):
    def test_valid_frames_are_decoded_and_encoded_as_described(self):
        files = sorted((Path(__file__).parents[2] / "tests/vectors/valid").glob("*.json"))
        self.assertGreater(len(files), 20)
        for file in files:
            with self.subTest(file.stem):
                about, data = json.loads(file.read_text()), file.with_suffix(".bin").read_bytes()
                self.assertEqual(struct.unpack(">I", data[:4])[0], len(data) - 4)
                frame = wire.Frame.FromString(data[4:])
                kind = frame.WhichOneof("body")
                self.assertEqual({kind: described(getattr(frame, kind))} if kind else None, about["frame"])
                if about["usual_encoding"]:
                    self.assertEqual(frame.SerializeToString(), data[4:])


class Liveness(unittest.TestCase):
    def test_each_part_of_a_large_frame_proves_that_the_peer_is_alive(self):
        async def work():
            reader = asyncio.StreamReader()
            link = wire.Link(reader, None, 1 << 20)
            receiving = asyncio.ensure_future(link.receive())
            data = wire.Frame(deliver={"messages": [{"payload": bytes(200_000)}]}).SerializeToString()
            reader.feed_data(struct.pack(">I", len(data)))
            for at in range(0, len(data), 50_000):
                link.heard = False
                reader.feed_data(data[at:at + 50_000])
                while not link.heard:
                    await asyncio.sleep(0)
            kind, deliver = await receiving
            self.assertEqual((kind, len(deliver.messages[0].payload)), ("deliver", 200_000))
        run(work())


class Retries(unittest.TestCase):
    def test_the_thousandth_attempt_is_followed_by_another(self):
        async def work():
            push = Push(retry=(0.0, 0.0))
            message = pushing.Message(0, b"", [], attempt=5_000)
            push.settle(message, wire.Frame(ack={"outcomes": [{"verdict": wire.NACK}]}).ack.outcomes[0])
            self.assertEqual(message.attempt, 5_001)
        run(work())


class Peers(unittest.TestCase):
    def test_every_message_is_processed_with_nacks_and_a_small_window(self):
        async def work():
            async with Push(bind=["tcp://127.0.0.1:0"], retry=(0.001, 0.01)) as push:
                async with Pull(connect=[f"tcp://127.0.0.1:{push.ports[0]}"], window=20) as pull:
                    async def produce():
                        for i in range(20_000):
                            await push.send(str(i).encode(), [("n", b"v")])
                        return await push.finish()
                    producing = asyncio.ensure_future(produce())
                    seen = []
                    async for delivery in pull:
                        if delivery.attempt == 1 and delivery.number % 100 == 0:
                            delivery.nack(0.001)
                        else:
                            seen.append(int(delivery.payload))
                            delivery.ack()
                    stats = await producing
                    self.assertEqual(sorted(seen), list(range(20_000)))
                    self.assertEqual((stats["acked"], stats["nacked"], stats["redelivered"]), (20_000, 200, 200))
        run(work())

    def test_no_message_is_lost_with_a_puller(self):
        async def work():
            async with Push(bind=["tcp://127.0.0.1:0"]) as push:
                at = [f"tcp://127.0.0.1:{push.ports[0]}"]
                dying, living = Pull(connect=at, window=50), Pull(connect=at, window=50)
                async with living:
                    await dying.__aenter__()
                    await push.until(lambda: len(push.links) == 2)
                    for i in range(90):
                        await push.send(str(i).encode())
                    seen = set()
                    async for delivery in dying:
                        seen.add(int(delivery.payload))
                        delivery.ack()
                        if len(seen) == 10:
                            break
                    for link in dying.links:
                        link.writer.transport.abort()
                    await dying.__aexit__()
                    finishing = asyncio.ensure_future(push.finish())
                    again = 0
                    async for delivery in living:
                        seen.add(int(delivery.payload))
                        again += delivery.attempt > 1
                        delivery.ack()
                    await finishing
                    self.assertEqual(seen, set(range(90)))
                    self.assertGreater(again, 0)
        run(work())

    def test_a_waiting_puller_grants_credit_beyond_its_window(self):
        async def work():  # CR-6
            async with Push(bind=["tcp://127.0.0.1:0"]) as push:
                async with Pull(connect=[f"tcp://127.0.0.1:{push.ports[0]}"], window=1) as pull:
                    for i in range(3):
                        await push.send(str(i).encode())
                    held = [await anext(pull) for _ in range(3)]
                    self.assertEqual([d.payload for d in held], [b"0", b"1", b"2"])
                    for delivery in held:
                        delivery.ack()
                    self.assertEqual((await push.finish())["acked"], 3)
        run(work())

    def test_wrong_peers_are_refused_with_the_right_code(self):
        async def ask(port, data):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            self.assertEqual(await reader.readexactly(8), wire.PREFACE)
            length = struct.unpack(">I", await reader.readexactly(4))[0]
            answer = wire.Frame.FromString(await reader.readexactly(length))
            writer.close()  # after the answer: the peer reads until the end of the stream (ST-4)
            return wire.NAMES[answer.close.code]

        async def work():
            async with Push(bind=["tcp://127.0.0.1:0/p"], token=b"t") as push:
                good = Pull(token=b"t").hello("p", token=b"t", resume=bytes(16), generation=1)

                async def hello(**change):
                    body = wire.Frame(hello={**good, **change}).SerializeToString()
                    return await ask(push.ports[0], wire.PREFACE + struct.pack(">I", len(body)) + body)
                self.assertEqual(await ask(push.ports[0], b"GET / HTTP/1.1\r\n\r\n"), "NOT_TIDEGATE")
                self.assertEqual(await hello(version_min=2, version_max=3), "VERSION")
                self.assertEqual(await hello(token=b"x"), "UNAUTHORIZED")
                self.assertEqual(await hello(pipeline="q"), "NO_PIPELINE")
                self.assertEqual(await hello(role=wire.PUSHER), "ROLE")
                self.assertEqual(await hello(max_message=1), "MESSAGE_SIZE")
                self.assertEqual(await hello(generation=0), "MALFORMED")
                for length in (1, 15, 17):
                    self.assertEqual(await hello(resume=bytes(length)), "MALFORMED")
                frame = wire.PREFACE + struct.pack(">I", 1 << 31)
                self.assertEqual(await ask(push.ports[0], frame), "TOO_LARGE")
            async with Push(bind=["tcp://127.0.0.1:0/p"]) as push:
                pull = Pull(connect=[f"tcp://127.0.0.1:{push.ports[0]}/p"], token=b"not required")
                async with pull:
                    await push.send(b"m")
                    async for delivery in pull:
                        self.assertEqual(delivery.payload, b"m")
                        delivery.ack()
                        break
        run(work())

    def test_a_connector_waits_for_retry_after_ms(self):
        async def work():
            waits, sleep, came = [], asyncio.sleep, asyncio.Event()

            async def note(seconds):
                waits.append(seconds)
                came.set()
                await sleep(seconds)

            async def busy(reader, writer):
                close = {"code": wire.CODES["BUSY"], "reason": "HS-12", "retry_after_ms": 300}
                body = wire.Frame(close=close).SerializeToString()
                writer.write(wire.PREFACE + struct.pack(">I", len(body)) + body)
                while await reader.read(4096):
                    pass
                writer.close()
            server = await asyncio.start_server(busy, "127.0.0.1", 0)
            with unittest.mock.patch("tidegate.peer.asyncio.sleep", note):
                async with Pull(connect=[f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"]):
                    await came.wait()
            self.assertGreaterEqual(waits[0], 0.3)
            server.close()
        run(work())


if __name__ == "__main__":
    unittest.main()
