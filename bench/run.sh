#!/usr/bin/env bash
# Prints every figure of docs/benchmarks.md, from a release build: `bench/run.sh`, or `bench/run.sh produce latency` for some.
# ROUNDS and DURATION say how often and how long. Data goes to the current directory's file system.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cargo build --release --locked --manifest-path "$root/Cargo.toml"
castmq=${CARGO_TARGET_DIR:-$root/target}/release/castmq
rounds=${ROUNDS:-5}
duration=${DURATION:-2s}

broker=
work=$(mktemp -d -p . castmq-bench-XXXXXX)
trap '[ -z "$broker" ] || kill -9 "$broker" 2>/dev/null || true; rm -rf "$work"' EXIT

run() { printf -- '\n$ castmq bench %s\n' "$*"; "$castmq" bench "$@"; }
paced() { run "$@" --embedded --rounds "$rounds" --duration "$duration"; }

# Starts a broker on the folder and prints what it says of itself.
start() {
  : >"$work/out"
  CASTMQ_LOG__FILTER=warn "$castmq" --data "$work/data" --listen 127.0.0.1:0 --namesrv-listen 127.0.0.1:0 >"$work/out" &
  broker=$!
  until grep -q ready "$work/out"; do sleep 0.01; done
  sed 's/, data .* (/ (/' "$work/out"
}
address() { sed -n 's/.*broker \([^,]*\),.*/\1/p' "$work/out"; }
memory() { grep -E 'VmRSS|RssAnon|RssFile' "/proc/$broker/status"; }
end() { kill -"${1:-TERM}" "$broker"; wait "$broker" 2>/dev/null || true; broker=; }

# One message per request, acknowledged, beside the echo server.
produce() {
  paced produce --size 1024 --connections 8 --window 256 --echo
  paced produce --size 1024 --connections 8 --window 256 --echo --spare-segments 8
  paced produce --size 128 --connections 8 --window 256 --echo
  paced produce --size 1024 --connections 8 --window 32 --echo
  paced produce --size 1024 --connections 1 --window 1 --echo
  paced produce --size 128 --connections 8 --window 32 --batch 100 --echo
}

# Acknowledged when on the disk, beside the raw group-commit loop; then to many queues, beside one.
sync() {
  for window in 1 8 32; do
    paced produce --size 1024 --connections 8 --window "$window" --sync-flush --disk
  done
  paced produce --size 1024 --connections 8 --window 256 --sync-flush --disk
  paced produce --size 1024 --connections 8 --window 256 --sync-flush --queues 1000 --against-queues 1
}

consume() {
  run consume --embedded --size 1024 --messages 2000000 --rounds "$rounds"
  run consume --embedded --size 128 --messages 5000000 --rounds "$rounds"
  run consume --embedded --size 128 --messages 2000000 --rounds "$rounds" --client
}

beside() {
  paced produce --size 1024 --beside consumer
  paced produce --size 1024 --connections 2 --rate 20000 --beside cold-consumer
}

latency() {
  run latency --embedded --size 128 --rate 50000 --duration 10s --rounds 3
}

# How late messages come that wait for a time.
delay() {
  run latency --embedded --size 128 --rate 20000 --duration 10s --rounds 3 --delay 3s
}

# Start and memory: an empty folder, 10,000 topics, and 4 GiB of log after kill -9.
start_up() {
  for _ in 1 2 3; do
    printf '\nan empty folder: '; start; sleep 1; memory; end; rm -rf "$work/data"
  done
  printf '\n10,000 topics with 4 queues each: '; start
  "$castmq" bench produce --broker "$(address)" --topics 10000 --queues 4 --messages 400000 --connections 1
  memory; end; rm -rf "$work/data"
  printf '\n4 GiB of log: '; start
  "$castmq" bench produce --broker "$(address)" --size 1024 --messages 4000000
  end KILL; printf 'after kill -9: '; start; end; rm -rf "$work/data"
}

[ $# -gt 0 ] || set -- produce sync consume beside latency delay start_up
for what in "$@"; do "$what"; done
