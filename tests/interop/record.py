#!/usr/bin/env python3
"""Records what clients ask a name server and its broker, and what those answer.

    record.py NAMESRV_ADDR BROKER_ADDR FILE

Stands before a name server and a broker, prints NAMESRV_ADDR=… for clients to use, and writes each frame to FILE as it passes,
until it is told to end (SIGTERM). The addresses of the broker in what passes, in text, in message ids and in messages, become those
of this program on the way to a client and the broker's own on the way back; FILE has the frames as the servers sent and see them.
The ports of this program have as many digits as the broker's, so no length changes.

A line of FILE: FROM TO CONNECTION HEX, where FROM and TO are `client`, `namesrv` or `broker`.
"""

import asyncio
import random
import signal
import sys


def listening_port(like):
    """A port to try, with as many digits as the one that it stands for."""
    digits = len(str(like))
    return random.randrange(10 ** (digits - 1), min(10**digits, 32768))


def forms(port):
    """A port of 127.0.0.1 as text, in the hex of message ids, and in the bytes of messages."""
    return [
        b"127.0.0.1:%d" % port,
        b"7F000001%08X" % port,
        b"\x7f\x00\x00\x01" + port.to_bytes(4, "big"),
    ]


def translate(frame, pairs):
    for old_port, new_port in pairs:
        for old, new in zip(forms(old_port), forms(new_port)):
            frame = frame.replace(old, new)
    return frame


async def read_frame(reader):
    length = await reader.readexactly(4)
    return length + await reader.readexactly(int.from_bytes(length, "big"))


class Recorder:
    def __init__(self, path):
        self.file = open(path, "w", buffering=1)
        self.connections = 0
        self.to_client = []

    def write(self, source, target, connection, frame):
        self.file.write(f"{source} {target} {connection} {frame.hex()}\n")

    async def pump(self, reader, writer, source, target, connection):
        towards_client = target == "client"
        pairs = self.to_client if towards_client else [(new, old) for old, new in self.to_client]
        try:
            while True:
                frame = await read_frame(reader)
                passed = translate(frame, pairs)
                self.write(source, target, connection, frame if towards_client else passed)
                writer.write(passed)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def stand_before(self, server, host, port):
        """Listens for clients of this server; returns the port."""

        async def client_came(client_reader, client_writer):
            self.connections += 1
            connection = self.connections
            try:
                server_reader, server_writer = await asyncio.open_connection(host, port)
            except ConnectionError:
                client_writer.close()
                return
            await asyncio.gather(
                self.pump(client_reader, server_writer, "client", server, connection),
                self.pump(server_reader, client_writer, server, "client", connection),
            )

        while True:
            own = listening_port(port)
            try:
                await asyncio.start_server(client_came, "127.0.0.1", own)
                return own
            except OSError:
                continue


async def main():
    if len(sys.argv) != 4:
        print(__doc__.split("\n\n")[1].strip(), file=sys.stderr)
        sys.exit(2)
    namesrv_host, namesrv_port = sys.argv[1].rsplit(":", 1)
    broker_host, broker_port = sys.argv[2].rsplit(":", 1)
    recorder = Recorder(sys.argv[3])
    broker = await recorder.stand_before("broker", broker_host, int(broker_port))
    namesrv = await recorder.stand_before("namesrv", namesrv_host, int(namesrv_port))
    recorder.to_client = [(int(broker_port), broker), (int(namesrv_port), namesrv)]
    print(f"NAMESRV_ADDR=127.0.0.1:{namesrv}", flush=True)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()


asyncio.run(main())
