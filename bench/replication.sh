#!/usr/bin/env bash
# Prints what copying to a slave costs, from a release build: `bench/replication.sh`, or with `double`, `added` or `catch_up` for
# some. ROUNDS and DURATION say how often and how long. Data goes to the current directory's file system.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cargo build --release --locked --manifest-path "$root/Cargo.toml"
castmq=${CARGO_TARGET_DIR:-$root/target}/release/castmq
rounds=${ROUNDS:-5}
duration=${DURATION:-2s}

work=$(mktemp -d -p . castmq-bench-XXXXXX)
down() { for at in "$work"/*/; do [ ! -f "$at/cluster.toml" ] || "$castmq" cluster down --dir "$at" >"$work/down"; done; rm -rf "$work"/*; }
trap 'down; rm -rf "$work"' EXIT

# A master and its slave, with segments as they are by default.
up() {
  "$castmq" cluster up --masters 1 --slaves 1 --namesrv 1 --replication "$1" --dir "$work/$1" \
    --set store.commit_log_segment_bytes=1073741824 >"$work/up"
}
member() { "$castmq" cluster status --dir "$work/$1" --json | tr '{' '\n' | sed -n "s/.*\"name\":\"$2\".*\"address\":\"\([^\"]*\)\".*/\1/p"; }
figure() { sed -n "s/.*broker: *\([0-9]*\) messages\/s.*p99 \([0-9]*\) µs, p99.9.*/\1 \2/p"; }
# How many bytes a slave has not yet; and a wait until it has them and both have written all out, so that no round pays for another's.
behind() { "$castmq" cluster status --dir "$work/$1" --json | grep -o '"behind_bytes":[0-9]*' | cut -d: -f2; }
settle() {
  while [ "$("$castmq" admin -n "$(member "$1" namesrv-1)" cluster list --json |
    grep -oE '"log_(appended|flushed)":[0-9]+' | cut -d: -f2 | sort -u | wc -l)" -gt 1 ]; do sleep 0.2; done
}
median() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

# Rounds with and without waiting for the slave, in turn: messages a second, or the 99th percentile.
compare() {
  up sync; up async
  local sync async; sync=$(member sync broker-a); async=$(member async broker-a)
  for policy in sync async; do : >"$work/$policy.rate"; : >"$work/$policy.p99"; : >"$work/$policy.behind"; done
  for _ in $(seq "$rounds"); do
    for policy in sync async; do
      "$castmq" bench produce --broker "${!policy}" --size 1024 --rounds 1 --duration "$duration" "$@" | figure >"$work/round"
      behind $policy >>"$work/$policy.behind"
      cut -d' ' -f1 "$work/round" >>"$work/$policy.rate"; cut -d' ' -f2 "$work/round" >>"$work/$policy.p99"
      settle $policy
    done
  done
  for policy in sync async; do
    echo "$policy: $(median <"$work/$policy.rate") messages/s, p99 $(median <"$work/$policy.p99") µs," \
      "slave $(($(median <"$work/$policy.behind") / 1000000)) MB behind at the end"
  done
  echo "ratio: $(echo "$(median <"$work/sync.rate") $(median <"$work/async.rate")" | awk '{ printf "%.2f", $1 / $2 }')"
  down
}
double() { echo "pipelined, 8 connections with 256 requests each:"; compare --connections 8 --window 256; }
added() { echo "20,000 messages a second, 8 connections:"; compare --connections 8 --window 256 --rate 20000; }

# A slave that joins with 4 GiB to fetch, alone and beside producers.
catch_up() {
  for beside in nobody producers; do
    up async
    local master; master=$(member async broker-a)
    "$castmq" cluster down --dir "$work/async" broker-a-s >"$work/down"
    "$castmq" bench produce --broker "$master" --size 1024 --messages 4000000 --rounds 1 >"$work/filled"
    if [ $beside = producers ]; then
      "$castmq" bench produce --broker "$master" --size 1024 --rounds 1 --rate 50000 --duration 20s >"$work/beside" &
    fi
    local began; began=$(date +%s.%N)
    "$castmq" cluster restart --dir "$work/async" --wait 120 broker-a-s >"$work/up"
    local bytes; bytes=$("$castmq" admin -n "$(member async namesrv-1)" cluster list --json | grep -o '"log_appended": *[0-9]*' | head -1 | grep -o '[0-9]*$')
    date +%s.%N | awk -v began="$began" -v bytes="$bytes" -v beside=$beside \
      '{ printf "caught up with %.1f GB beside %s in %.1f s: %.0f MB/s\n", bytes / 1e9, beside, $1 - began, bytes / 1e6 / ($1 - began) }'
    wait
    [ ! -f "$work/beside" ] || tail -1 "$work/beside"
    down
  done
}

[ $# -gt 0 ] || set -- double added catch_up
for what in "$@"; do printf '\n'; "$what"; done
