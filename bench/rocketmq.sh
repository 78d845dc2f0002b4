#!/usr/bin/env bash
# Prints what producers of RocketMQ get from CastMQ, and from RocketMQ's own broker, in rounds by turns: `bench/rocketmq.sh`, or with
# `wire`, `java` for some. ROUNDS and DURATION (seconds) say how often and how long, GENUINE_HEAP what RocketMQ's broker has.
# Needs a JDK 17 and Maven. Data goes to the current directory's file system, some 40 GB of it.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cargo build --release --locked --manifest-path "$root/Cargo.toml"
castmq=${CARGO_TARGET_DIR:-$root/target}/release/castmq
rounds=${ROUNDS:-5}
duration=${DURATION:-3}
export GENUINE_HEAP=${GENUINE_HEAP:-4g} JAVA_TUNING="-XX:+UseG1GC"
source "$root/tests/interop/common.sh"
build_java

work=$(mktemp -d -p . castmq-bench-XXXXXX)
work=$(cd "$work" && pwd)
end() {
  "$interop/genuine.sh" stop "$work/genuine"
  [ -z "${pids[castmq]:-}" ] || kill "${pids[castmq]}"
  rm -rf "$work"
}
declare -A name_servers brokers pids
trap end EXIT

# RocketMQ's own, with its files as large as they are by default, and never too busy.
settings=$'mappedFileSizeCommitLog=1073741824\nmappedFileSizeConsumeQueue=6000000\nmaxHashSlotNum=5000000\nmaxIndexNum=20000000
waitTimeMillsInSendQueue=60000\nosPageCacheBusyTimeOutMills=60000'
eval "$(free_ports NAMESRV BROKER OWN_NAMESRV OWN_BROKER)"
GENUINE_SETTINGS=$settings "$interop/genuine.sh" start "$work/genuine" "$NAMESRV" "$BROKER" >"$work/out"
name_servers[rocketmq]=127.0.0.1:$NAMESRV brokers[rocketmq]=127.0.0.1:$BROKER pids[rocketmq]=$(cat "$work/genuine/broker.pid")
CASTMQ_LOG__FILTER=warn "$castmq" --data "$work/castmq" --listen "127.0.0.1:$OWN_BROKER" --namesrv-listen "127.0.0.1:$OWN_NAMESRV" >"$work/out" &
name_servers[castmq]=127.0.0.1:$OWN_NAMESRV brokers[castmq]=127.0.0.1:$OWN_BROKER pids[castmq]=$!
until grep -q ready "$work/out"; do sleep 0.1; done

# Processor time of a broker in nanoseconds: user and system time in hundredths of a second.
used() { sed 's/.*)//' "/proc/${pids[$1]}/stat" | awk '{ printf "%.0f\n", ($12 + $13) * 10000000 }'; }
memory() { awk '/RssAnon/ { anon = $2 } /VmRSS/ { all = $2 } END { printf "%d MiB, with mapped files %d MiB", anon / 1024, all / 1024 }' "/proc/${pids[$1]}/status"; }
median() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

# compare WHAT COMMAND…: rounds of a command that is told the broker and prints messages, messages a second and the p99.
compare() {
  local what=$1; shift
  local which before messages rate p99
  rm -f "$work"/*.figure
  for _ in $(seq "$rounds"); do
    for which in castmq rocketmq; do
      before=$(used $which)
      read -r messages rate p99 < <("$@" $which)
      echo "$rate" >>"$work/$which.rate.figure"; echo "$p99" >>"$work/$which.p99.figure"
      echo $((($(used $which) - before) / messages)) >>"$work/$which.cpu.figure"
    done
  done
  printf '%s:\n' "$what"
  for which in castmq rocketmq; do
    printf '  %s: %s messages/s, p99 %s µs, %s ns of processor time per message, memory %s\n' $which "$(median <"$work/$which.rate.figure")" \
      "$(median <"$work/$which.p99.figure")" "$(median <"$work/$which.cpu.figure")" "$(memory $which)"
  done
  paste "$work/castmq.rate.figure" "$work/rocketmq.rate.figure" | awk '{ print $1 / $2 }' | median | xargs printf '  ratio: %.1f\n'
}

generated() {
  "$castmq" bench produce --broker "${brokers[${*: -1}]}" --duration "${duration}s" "${@:1:$#-1}" --json | tail -1 |
    sed -E 's/.*"messages":([0-9]+),"messages_per_second":([0-9]+).*"p99":([0-9]+).*/\1 \2 \3/'
}
from_java() {
  NAMESRV_ADDR=${name_servers[${*: -1}]} run_java castmq.interop.Load "${@:1:$#-1}" |
    sed -E 's/.*: ([0-9]+) messages\/s, p50 [0-9]+ µs, p99 ([0-9]+) µs, ([0-9]+) messages.*/\3 \1 \2/'
}

wire() {
  compare "castmq bench, 8 connections with 256 requests each, 1 KiB" generated --wire remoting --connections 8 --window 256
  compare "the same with binary headers" generated --wire remoting-binary --connections 8 --window 256
  compare "castmq bench, one request at a time, 1 KiB" generated --wire remoting --connections 1 --window 1
}
java_client() {
  for threads in 1 8 64; do
    compare "Java producer, $threads threads that wait for each answer, 1 KiB" from_java sync $threads 1024 "$duration"
  done
  compare "Java producer, asynchronous, 2,048 messages under way, 1 KiB" from_java async 2 1024 "$duration"
}

[ $# -gt 0 ] || set -- wire java
for what in "$@"; do printf '\n'; case $what in java) java_client ;; *) "$what" ;; esac; done
