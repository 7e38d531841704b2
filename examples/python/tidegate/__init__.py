"""A tidegate peer for asyncio, with both roles, written from SPEC.md and the .proto file.

Ids such as CR-2 name rules of SPEC.md and docs/IMPLEMENTATION.md.

    async with Push(bind=["tcp://127.0.0.1:8433"]) as push:
        await push.send(b"resize 17.png")
        await push.finish()

    async with Pull(connect=["tcp://127.0.0.1:8433"]) as pull:
        async for delivery in pull:
            resize(delivery.payload)
            delivery.ack()

It omits recall and leaving for pullers (RC-2, ST-1): a puller closes, and its pushers send un-acked messages again. It
also omits a budget shared by links (CR-9), windows of 0 (CR-7), and quarantine of poison messages (RD-4).
"""

from .pull import Delivery, Pull
from .peer import tls
from .push import Push
from .wire import Closed

__all__ = ["Closed", "Delivery", "Pull", "Push", "tls"]
