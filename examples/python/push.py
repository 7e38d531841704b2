"""Sends one message per line: push.py --bind tcp://127.0.0.1:8433 < jobs.txt"""

import argparse
import asyncio
import json
import sys

import tidegate


async def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--bind", action="append", default=[], help="listen at this endpoint (repeatable)")
    args.add_argument("--connect", action="append", default=[], help="connect to this endpoint (repeatable)")
    args.add_argument("--expect", type=int, default=0, help="wait for this number of pullers first")
    args.add_argument("--high-water-mark", type=int, default=1000, help="maximum number of messages without a puller")
    args.add_argument("--token", default="", help="the shared token")
    args.add_argument("--tls-ca", help="trust this CA for tls://; with --bind, accept only its clients")
    args.add_argument("--tls-cert", help="present this certificate for tls://")
    args.add_argument("--tls-key", help="the private key of --tls-cert")
    args.add_argument("file", nargs="?", default="-", help="the input file; - is stdin")
    args = args.parse_args()
    push = tidegate.Push(bind=args.bind, connect=args.connect, token=args.token.encode(),
                         high_water_mark=args.high_water_mark,
                         tls=tidegate.tls(args.tls_ca, args.tls_cert, args.tls_key))
    async with push:
        for scheme, port in zip((at.partition(":")[0] for at in args.bind), push.ports):
            print(f"listening on {scheme}://127.0.0.1:{port}", file=sys.stderr, flush=True)
        await push.until(lambda: len(push.links) >= args.expect)
        lines = sys.stdin.buffer if args.file == "-" else open(args.file, "rb")
        rest = b""
        while part := await asyncio.to_thread(lines.read1, 1 << 16):  # a blocking read would stop the links
            *whole, rest = (rest + part).split(b"\n")
            for line in whole:
                await push.send(line)
        if rest:
            await push.send(rest)
        stats = await push.finish()
    print(json.dumps(stats))
    return 3 if stats["rejected"] else 0


sys.exit(asyncio.run(main()))
