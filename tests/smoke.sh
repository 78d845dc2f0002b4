#!/usr/bin/env bash
# The main job with the release binary: lines go in, two members of a group share them, another group gets all of them after
# the broker was killed; and the broker starts again after every kind of stop.
set -euo pipefail
cd "$(dirname "$0")/.."

# However full the machine's disk is by other things.
export CASTMQ_RETENTION__DISK_REFUSE_WRITES_PERCENT=95 CASTMQ_RETENTION__FORCE_CLEAN_ENABLED=false

work=$(mktemp -d)
broker=
trap 'kill -9 "$broker" 2>/dev/null || true; rm -rf "$work"' EXIT

start() {
  : >"$work/out"
  ./target/release/castmq --data "$work/data" --listen 127.0.0.1:0 --namesrv-listen 127.0.0.1:0 >"$work/out" 2>"$work/log" &
  broker=$!
  for _ in $(seq 100); do
    grep -q ready "$work/out" && { cat "$work/out"; return; }
    kill -0 "$broker" 2>/dev/null || break
    sleep 0.1
  done
  echo "the broker did not become ready"; cat "$work/log"; exit 1
}

namesrv() { sed -n 's/.*name server \([^,]*\),.*/\1/p' "$work/out"; }
castmq() { ./target/release/castmq "$@" -n "$(namesrv)"; }
same() { sort "$@" | cmp - "$work/sorted" || { echo "not every line once: $*"; exit 1; }; }

lines=100000
seq "$lines" | sed 's/.*/line & of the smoke/' >"$work/lines"
sort "$work/lines" >"$work/sorted"

start
: >"$work/one"; : >"$work/two"
castmq produce access --file "$work/lines"
./target/release/castmq consume access --group g -n "$(namesrv)" >"$work/one" & one=$!
./target/release/castmq consume access --group g -n "$(namesrv)" >"$work/two" & two=$!
until [ "$(cat "$work/one" "$work/two" | wc -l)" -ge "$lines" ]; do sleep 0.1; done
kill -TERM "$one" "$two"; wait "$one" "$two"
same "$work/one" "$work/two"

kill -KILL "$broker"; wait "$broker" 2>/dev/null || true
[ -e "$work/data/abort" ] || { echo "abort is missing after a kill"; exit 1; }
start
castmq consume access --group h --max "$lines" >"$work/three"
same "$work/three"

kill -TERM "$broker"; wait "$broker"
[ ! -e "$work/data/abort" ] || { echo "abort is left after a clean stop"; exit 1; }
start
castmq consume access --group i --max "$lines" >"$work/four"
same "$work/four"
kill -TERM "$broker"; wait "$broker"
echo "smoke passed"
