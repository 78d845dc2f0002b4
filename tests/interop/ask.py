#!/usr/bin/env python3
"""Asks a server on RocketMQ's wire, and prints the answer's code, remark and body.

    ask.py ADDRESS CODE [FIELD=VALUE...] [-- BODY]
"""

import json
import socket
import struct
import sys


def main():
    if len(sys.argv) < 3:
        print(__doc__.split("\n\n")[1].strip(), file=sys.stderr)
        sys.exit(2)
    host, port = sys.argv[1].rsplit(":", 1)
    rest = sys.argv[3:]
    place = rest.index("--") if "--" in rest else len(rest)
    fields = dict(pair.split("=", 1) for pair in rest[:place])
    sent = " ".join(rest[place + 1 :]).encode()
    asked = {"code": int(sys.argv[2]), "extFields": fields, "flag": 0, "language": "PYTHON", "opaque": 1, "version": 401}
    header = json.dumps(asked).encode()
    with socket.create_connection((host, int(port))) as server:
        server.sendall(struct.pack(">ii", 4 + len(header) + len(sent), len(header)) + header + sent)
        file = server.makefile("rb")
        length, mark = struct.unpack(">ii", file.read(8))
        answer = json.loads(file.read(mark & 0xFFFFFF))
        body = file.read(length - 4 - (mark & 0xFFFFFF))
    print(answer["code"], answer.get("remark") or "", body.decode())


main()
