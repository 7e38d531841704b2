"""The parts that both roles share: endpoints, handshakes, links, reconnecting."""

import asyncio
import hmac
import os
import random
import ssl
import time

from . import wire
from .wire import PREFACE, PULLER, PUSHER, Closed, Link

FINAL = {"NOT_TIDEGATE", "MESSAGE_SIZE", "VERSION", "UNAUTHORIZED", "NO_PIPELINE", "ROLE", "FEATURE"}  # RD-7
MAX_MESSAGE = 16 << 20
HANDSHAKE = 5.0


def parse(endpoint):
    """Splits tcp://host:port/pipeline or tls://host:port/pipeline into (whether to use TLS, host, port, pipeline)."""
    scheme, _, rest = endpoint.partition("://")
    place, _, pipeline = rest.partition("/")
    host, _, port = place.rpartition(":") if ":" in place.rpartition("]")[2] else (place, "", "8433")
    if scheme not in ("tcp", "tls"):
        raise ValueError(f"endpoint {endpoint!r}: the scheme must be tcp or tls")
    return scheme == "tls", host.strip("[]"), int(port), pipeline


def tls(ca=None, certificate=None, key=None):
    """Returns two contexts, for connecting and for listening.

    A connector trusts this CA, or those of the system. If a CA is given, a listener requires client certificates.
    """
    client, server = ssl.create_default_context(cafile=ca), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for context in (client, server):
        context.minimum_version = ssl.TLSVersion.TLSv1_3  # TL-1
        context.set_alpn_protocols(["tidegate/1"])  # TL-3
        if certificate:
            context.load_cert_chain(certificate, key)
    if ca:
        server.load_verify_locations(ca)
        server.verify_mode = ssl.CERT_REQUIRED  # TL-4
    server.num_tickets = 0
    return client, server


class Peer:
    """A socket. The classes of the roles define `opened`, `lost`, and handlers such as `on_ack`."""

    role = 0
    frame_limit = wire.MAX_CONTROL

    def __init__(self, bind=(), connect=(), token=b"", name="python", tls=(None, None), max_message=MAX_MESSAGE):
        self.instance = os.urandom(16)  # HS-8
        self.token, self.name, self.binds, self.connects = token, name, list(bind), list(connect)
        self.tls_client, self.tls_server = tls
        self.max_message = max_message
        self.links, self.servers, self.tasks, self.ports = [], [], set(), []
        self.changed, self.refused, self.stopping, self.dialing = asyncio.Event(), None, False, 0

    async def __aenter__(self):
        for endpoint in self.binds:
            secured, host, port, pipeline = parse(endpoint)
            accept = lambda reader, writer, p=pipeline: self.spawn(self.accept(reader, writer, p))
            self.servers.append(await asyncio.start_server(
                accept, host, port, ssl=self.tls_server if secured else None))
            self.ports.append(self.servers[-1].sockets[0].getsockname()[1])
        for endpoint in self.connects:
            self.dialing += 1
            self.spawn(self.dial(endpoint))
        return self

    async def __aexit__(self, *_):
        self.stopping = True
        for server in self.servers:
            server.close()
        for link in self.links:
            link.close("GOING_AWAY", "stopping")
        await self.unlinked()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def unlinked(self):
        """Waits until all links are closed. Links that do not answer Close are aborted (ST-4)."""
        while self.links:
            await self.changed.wait()

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
                "pipeline": pipeline, "max_message": self.max_message,
                "heartbeat_ms": int(wire.HEARTBEAT * 1000), **more}

    def check(self, hello, pipeline, acceptor):
        """Checks a Hello in the order of HS-2."""
        features = [*hello.offered, *hello.required]
        short = (len(hello.name.encode()) <= 256 and len(hello.pipeline.encode()) <= 256 and len(hello.token) <= 4096
                 and len(hello.offered) <= 32 and len(hello.required) <= 32
                 and all(len(feature.encode()) <= 64 for feature in features))
        low, high = hello.version_min, hello.version_max
        known = not acceptor or not self.token or hmac.compare_digest(hello.token, self.token)
        known_again = not acceptor or (hello.generation and len(hello.resume) in (0, 16))
        sends, takes = (self.max_message, hello.max_message)[::1 if self.role == PUSHER else -1]
        for right, code, reason in (
                (short, "MALFORMED", "HS-10: a name, the token, or a list of features is too long"),
                (low <= 1 <= high if acceptor else low == high == 1, "VERSION", "HS-3: this side supports version 1"),
                (known, "UNAUTHORIZED", "HS-4: the token is missing or wrong"),
                (hello.pipeline == pipeline, "NO_PIPELINE",
                 "HS-5: the pipeline does not exist, or this peer may not use it"),
                (hello.role == PUSHER + PULLER - self.role, "ROLE", "HS-6: both sides have the same role"),
                (len(hello.instance) == 16, "MALFORMED", "HS-8: instance must have 16 bytes"),
                (1 <= hello.max_message <= 2**31 - 65536, "MALFORMED", "HS-7: invalid max_message"),
                (sends <= takes, "MESSAGE_SIZE", f"HS-7: the pusher's max_message is {sends}, the puller's is {takes}"),
                (100 <= hello.heartbeat_ms <= 60000, "MALFORMED", "LV-1: heartbeat_ms must be 100 to 60,000"),
                (not hello.required, "FEATURE", f"HS-10: {', '.join(hello.required)} is not offered"),
                (known_again, "MALFORMED", "HS-9: invalid generation or resume"),
                (acceptor or not hello.token, "MALFORMED", "HS-4: an acceptor's Hello has a token")):
            if not right:
                raise Closed(code, reason)

    async def greet(self, link, pipeline, acceptor):
        """Reads and checks the other side's Hello. Refuses a wrong one with a Close that reaches the peer."""
        try:
            async with asyncio.timeout(HANDSHAKE):  # HS-11
                if (preface := await link.reader.readexactly(8)) != PREFACE:
                    raise Closed("NOT_TIDEGATE", f"FR-1: the stream begins with {preface!r}")
                kind, body = await link.receive(first=True)
            if kind == "close":
                code, after = wire.NAMES.get(body.code, "INTERNAL"), body.retry_after_ms / 1000
                raise Closed(code, body.reason, by_peer=True, after=after)
            if kind != "hello":
                raise Closed("UNEXPECTED", "FR-5: the first frame is not Hello")
            self.check(body, pipeline, acceptor)
            if acceptor:
                self.replace(link, body)
            link.hello = body
        except (Closed, TimeoutError) as error:
            if acceptor:
                link.writer.write(PREFACE)
            if not getattr(error, "by_peer", False):
                link.close(getattr(error, "code", "TOO_SLOW"),
                           getattr(error, "reason", "HS-11: no Hello within the deadline"))
            await link.finish(answered=not link.closing)
            raise

    def replace(self, link, hello):
        """A higher generation of the same peer replaces its link; other generations are stale (HS-9).

        A peer without `resume` is never the same as another one.
        """
        names = (link.writer.get_extra_info("peercert") or {}).get("subjectAltName", ())
        link.key = (hello.resume, hello.instance, hello.pipeline, sorted(names)) if hello.resume else None
        for old in self.links:
            if link.key and old.key == link.key:
                if hello.generation <= old.hello.generation:
                    raise Closed("STALE", f"HS-9: generation {old.hello.generation} is connected")
                old.close("REPLACED", "this peer has a newer link")

    async def accept(self, reader, writer, pipeline):
        link = Link(reader, writer, self.frame_limit)
        try:
            await self.greet(link, pipeline, acceptor=True)
        except (OSError, EOFError, Closed, TimeoutError):
            return
        writer.write(PREFACE)
        link.send(hello=self.hello(pipeline))
        await self.run(link)

    async def dial(self, endpoint):
        secured, host, port, pipeline = parse(endpoint)
        context = (self.tls_client or tls()[0]) if secured else None  # TL-2: its defaults check chain and name
        wait, generation, resume = 0.05, 0, os.urandom(16)  # HS-9: for this endpoint only
        while not self.stopping:
            generation, after = generation + 1, 0
            try:
                link = Link(*await asyncio.open_connection(host, port, ssl=context), self.frame_limit)
                link.writer.write(PREFACE)
                link.send(hello=self.hello(pipeline, resume=resume, generation=generation, token=self.token))
                await self.greet(link, pipeline, acceptor=False)
                opened = time.monotonic()
                await self.run(link)
                if link.settled or time.monotonic() - opened >= 10:
                    wait = 0.05  # RD-6: a handshake alone does not reset it
                if link.ended:
                    break  # ST-6
                after = link.after
            except Closed as error:
                after = error.after
                if error.code == "STALE":  # HS-9: another peer may have used it
                    generation, resume = 0, os.urandom(16)
                if error.code in FINAL:
                    self.refused = error
                    break
            except (OSError, EOFError, TimeoutError):
                pass
            # Not before the peer's retry_after_ms.
            await asyncio.sleep(max(wait, min(after, 300)) * (1 + random.random() / 2))
            wait = min(wait * 2, 10)
        self.dialing -= 1
        self.notify()

    async def run(self, link):
        """Reads a link until it ends."""
        self.links.append(link)
        beat, answered = self.spawn(link.beat()), False
        try:
            self.opened(link)
            self.notify()
            while True:
                kind, body = await link.receive()
                if kind == "ping":
                    link.send(pong={"data": body.data})
                elif kind == "close":
                    answered, link.after = True, body.retry_after_ms / 1000  # RD-6
                    return link.close("NORMAL")
                elif kind not in ("pong", None) and (kind == "ack" or not link.closing):
                    handler = getattr(self, "on_" + kind, None)
                    if handler is None:
                        raise Closed("UNEXPECTED", f"FR-5: {kind} is not a frame of this role")
                    handler(link, body)
        except Closed as error:
            link.close(error.code, error.reason)
        except (OSError, EOFError):
            answered = link.closing = True
        finally:
            beat.cancel()
            if link in self.links:
                self.links.remove(link)
                self.lost(link)
            self.notify()
            await link.finish(answered)
