#!/usr/bin/env python3
"""Picks, out of what record.py wrote, one frame and its answer for each request code and answer code, for tests to decode.

    fixtures.py FRAMES... CODES > FILE.hex

CODES has what `javap -constants` prints of RocketMQ's RequestCode, for the names. The output has three lines for each pair: what it
is, after `#`; the request in hex, after `>`; and its answer in hex, after `<` (none for one that expects none).
"""

import json
import re
import struct
import sys

# Beyond this an answer says nothing more; a pair is taken nevertheless when there is no smaller one.
ENOUGH = 4096
# Whatever it is.
TOO_MUCH = 20_000


def header_of(frame):
    """Code, opaque, flag, remark and ext fields, of either header format."""
    mark = struct.unpack(">i", frame[4:8])[0]
    kind, length = mark >> 24, mark & 0xFFFFFF
    header = frame[8 : 8 + length]
    if kind == 0:
        # RocketMQ's JSON is JSON here; only bodies have keys without quotes.
        fields = json.loads(header)
        return fields["code"], fields["opaque"], fields.get("flag", 0), fields.get("remark"), fields.get("extFields") or {}, length
    code, _, _, opaque, flag, remark_length = struct.unpack(">hbhiii", header[:17])
    remark = header[17 : 17 + remark_length].decode()
    at = 17 + remark_length + 4
    fields = {}
    while at < length:
        key_length = struct.unpack(">h", header[at : at + 2])[0]
        key = header[at + 2 : at + 2 + key_length].decode()
        at += 2 + key_length
        value_length = struct.unpack(">i", header[at : at + 4])[0]
        fields[key] = header[at + 4 : at + 4 + value_length].decode()
        at += 4 + value_length
    return code, opaque, flag, remark or None, fields, length


def said(frame):
    code, _, _, remark, fields, length = header_of(frame)
    text = f"{code}" + (f" ({remark.strip().splitlines()[0][:80]})" if remark else "")
    if fields:
        text += " " + " ".join(sorted(fields))
    body = len(frame) - 8 - length
    return text + (f", body of {body} bytes" if body else "")


def main():
    names = {}
    for line in open(sys.argv[-1]):
        found = re.search(r"int (\w+) = (\d+);", line)
        if found:
            names[int(found[2])] = found[1]

    # One pair of each kind: (from, to, request code, answer code, kind of the request's header) to (request, answer).
    best = {}

    def offer(key, request, answer):
        key += (request[4],)
        size = len(request) + len(answer or b"")
        if size > TOO_MUCH:
            return
        old = best.get(key)
        if old is None or (size < len(old[0]) + len(old[1] or b"") and len(old[1] or b"") > ENOUGH):
            best[key] = (request, answer)

    for path in sys.argv[1:-1]:
        waiting = {}
        for line in open(path):
            source, target, connection, text = line.split()
            frame = bytes.fromhex(text)
            code, opaque, flag, _, _, _ = header_of(frame)
            if flag & 1:
                # An answer goes against the way of its request.
                request = waiting.pop((target, source, connection, opaque), None)
                if request is not None:
                    offer((target, source, header_of(request)[0], code), request, frame)
            elif flag & 2:
                offer((source, target, code, -1), frame, None)
            else:
                waiting[(source, target, connection, opaque)] = frame

    for (source, target, code, _, kind), (request, answer) in sorted(best.items()):
        outcome = "no answer" if answer is None else f"answered {said(answer)}"
        binary = " with a binary header" if kind else ""
        print(f"# {source} to {target}: {code} {names.get(code, 'unknown')}{binary}: {outcome}")
        print(f"> {request.hex()}")
        print(f"< {answer.hex()}" if answer is not None else "<")


main()
