"""Receives messages and prints one per line: pull.py --connect tcp://127.0.0.1:8433"""

import argparse
import asyncio
import json
import sys

import tidegate


async def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--bind", action="append", default=[], help="listen at this endpoint (repeatable)")
    args.add_argument("--connect", action="append", default=[], help="connect to this endpoint (repeatable)")
    args.add_argument("--expect", type=int, help="with --bind: end when this number of pushers have ended")
    args.add_argument("--window", type=int, default=1000, help="maximum number of un-acked messages of each link")
    args.add_argument("--token", default="", help="the shared token")
    args.add_argument("--tls-ca", help="trust this CA for tls://; with --bind, accept only its clients")
    args.add_argument("--tls-cert", help="present this certificate for tls://")
    args.add_argument("--tls-key", help="the private key of --tls-cert")
    args.add_argument("--nack-every", type=int, default=0, help="nack every Nth message at its first attempt")
    args.add_argument("--json", action="store_true", help="print id, attempt and payload as JSON")
    args = args.parse_args()
    pull = tidegate.Pull(bind=args.bind, connect=args.connect, token=args.token.encode(),
                         window=args.window, expect=args.expect,
                         tls=tidegate.tls(args.tls_ca, args.tls_cert, args.tls_key))
    async with pull:
        for scheme, port in zip((at.partition(":")[0] for at in args.bind), pull.ports):
            print(f"listening on {scheme}://127.0.0.1:{port}", file=sys.stderr, flush=True)
        async for delivery in pull:
            if args.nack_every and delivery.attempt == 1 and delivery.number % args.nack_every == 0:
                delivery.nack(0.001, "--nack-every")
                continue
            text = delivery.payload.decode(errors="replace")
            if args.json:
                text = json.dumps({"id": delivery.id, "attempt": delivery.attempt, "payload": text})
            print(text, flush=True)  # flushed first: an ack means processed (OC-1)
            delivery.ack()


asyncio.run(main())
