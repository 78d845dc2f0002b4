#!/usr/bin/env python3
"""Packs a store into one file, without the zeros of which its files mostly are.

    store.py FOLDER FILE

For each file: its path (u16 length, bytes), its length (u64), and pieces (u64 place, u32 length, bytes) up to one of length 0, all
big endian. What RocketMQ does not need to serve the messages is left out.
"""

import pathlib
import struct
import sys

BLOCK = 64
LEFT_OUT = ("rocksdbstore", "config/users", "config/acls", "compaction", "metadata", "abort.bak", "lock")


def pieces(file):
    """Runs of blocks that are not zeros."""
    with file.open("rb") as source:
        size = file.stat().st_size
        at, run = 0, None
        while at < size:
            block = source.read(1 << 20)
            for begin in range(0, len(block), BLOCK):
                part = block[begin : begin + BLOCK]
                if any(part):
                    run = (run[0], run[1] + part) if run else (at + begin, part)
                elif run:
                    yield run
                    run = None
            at += len(block)
        if run:
            yield run


def main(folder, target):
    folder = pathlib.Path(folder)
    with open(target, "wb") as out:
        for file in sorted(folder.rglob("*")):
            name = file.relative_to(folder).as_posix()
            if not file.is_file() or name.startswith(LEFT_OUT) or name.endswith(".bak"):
                continue
            path = name.encode()
            out.write(struct.pack(">H", len(path)) + path + struct.pack(">Q", file.stat().st_size))
            for at, data in pieces(file):
                out.write(struct.pack(">QI", at, len(data)) + data)
            out.write(struct.pack(">QI", 0, 0))


main(*sys.argv[1:])
