#!/usr/bin/env bash
# Starts the release binary on an empty folder, stops it, kills it, and starts it again: each time it has to be ready.
set -euo pipefail
cd "$(dirname "$0")/.."

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

start
kill -TERM "$broker"; wait "$broker"
[ ! -e "$work/data/abort" ] || { echo "abort is left after a clean stop"; exit 1; }
start
kill -KILL "$broker"; wait "$broker" || true
[ -e "$work/data/abort" ] || { echo "abort is missing after a kill"; exit 1; }
start
kill -TERM "$broker"; wait "$broker"
echo "smoke passed"
