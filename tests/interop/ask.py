#!/usr/bin/env python3
"""Asks a server on RocketMQ's wire, and prints the answer's code, remark and body.

    ask.py ADDRESS CODE [FIELD=VALUE...]
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
    fields = dict(pair.split("=", 1) for pair in sys.argv[3:])
    asked = {"code": int(sys.argv[2]), "extFields": fields, "flag": 0, "language": "PYTHON", "opaque": 1, "version": 401}
    header = json.dumps(asked).encode()
    with socket.create_connection((host, int(port))) as server:
        server.sendall(struct.pack(">ii", len(header) + 4, len(header)) + header)
        file = server.makefile("rb")
        length, mark = struct.unpack(">ii", file.read(8))
        answer = json.loads(file.read(mark & 0xFFFFFF))
        body = file.read(length - 4 - (mark & 0xFFFFFF))
    print(answer["code"], answer.get("remark") or "", body.decode())


main()
