#!/usr/bin/env bash
# Name servers and brokers of both kinds, crosswise: a broker of CastMQ at RocketMQ's own name server, and RocketMQ's own broker at a
# name server of CastMQ, each used by the Java client. Besides, RocketMQ's own broker as the slave of a master of CastMQ.
#
#   names.sh [CHECKS]     CHECKS are names of checks of java/, or parts of them; `send:`, `push:` and some more, where none are given
#
# CASTMQ says which binary; target/debug/castmq otherwise. Ends with 1 when anything failed.
set -uo pipefail
source "$(dirname "$0")/common.sh"

castmq=${CASTMQ:-$interop/../../target/debug/castmq}
[ $# -gt 0 ] || set -- send: push: order: transaction: retry: rebalance: pop: delay: admin:
work=$(mktemp -d)
pids=()
end() {
  local of
  for of in genuine slave; do [ ! -e "$work/$of" ] || "$interop/genuine.sh" stop "$work/$of"; done
  [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null
  wait
  rm -rf "$work"
}
trap end EXIT

failed=0
fail() { echo "FAIL  $*"; failed=1; }

# until_says WHAT PATTERN ADDRESS CODE [FIELD=VALUE...]: until the answer has the pattern, for up to a minute.
until_says() {
  local what=$1 pattern=$2; shift 2
  for _ in $(seq 300); do
    "$interop/ask.py" "$@" 2>/dev/null | grep -q -- "$pattern" && { echo "ok    $what"; return 0; }
    sleep 0.2
  done
  fail "$what: $("$interop/ask.py" "$@" 2>&1 | tail -n 1)"
}

# until_has WHAT PATTERN PATH: until a file there has the pattern, for up to two minutes.
until_has() {
  local what=$1 pattern=$2 path=$3
  for _ in $(seq 600); do
    grep -rqs -- "$pattern" "$path" && { echo "ok    $what"; return 0; }
    sleep 0.2
  done
  fail "$what"
}

# The same delay levels and times as in genuine.sh, and the same longest delay.
export CASTMQ_BROKER__TIMER_MAX_DELAY_MS=259200000
export CASTMQ_BROKER__DELAY_LEVELS="1s 2s 1s 1s 2s 2s 3s 3s 4s 4s 5s 5s 10s 20s 30s 1m 1h 2h"
export CASTMQ_BROKER__TRANSACTION_CHECK_INTERVAL_MS=2000 CASTMQ_BROKER__TRANSACTION_TIMEOUT_MS=1000
export CASTMQ_RETENTION__FORCE_CLEAN_ENABLED=false CASTMQ_RETENTION__DISK_REFUSE_WRITES_PERCENT=95
export CASTMQ_STORE__COMMIT_LOG_SEGMENT_BYTES=33554432 CASTMQ_BROKER__VIP_CHANNEL=true

# castmq NAME ARGUMENT...: starts a member of CastMQ.
start_castmq() {
  local name=$1; shift
  "$castmq" "$@" >"$work/$name.out" 2>&1 </dev/null &
  pids+=($!)
}

fetch_genuine
build_java || exit 1
eval "$(free_ports THEIR_NAMES THEIR_BROKER OUR_NAMES OUR_BROKER)"
theirs=127.0.0.1:$THEIR_NAMES ours=127.0.0.1:$OUR_NAMES
start_castmq names namesrv --namesrv-listen "$ours"
# It tries again until the name server is there.
start_castmq broker broker --data "$work/data" --listen "127.0.0.1:$OUR_BROKER" -n "$theirs"
broker_pid=${pids[1]}
GENUINE_REGISTERS_AT=$ours "$interop/genuine.sh" start "$work/genuine" "$THEIR_NAMES" "$THEIR_BROKER" >/dev/null || exit 1

until_says "a broker of CastMQ is known to a name server of RocketMQ" "127.0.0.1:$OUR_BROKER" "$theirs" 106
until_says "a broker of RocketMQ is known to a name server of CastMQ" "127.0.0.1:$THEIR_BROKER" "$ours" 106
until_says "topics of RocketMQ's broker are known to a name server of CastMQ" '"readQueueNums":1024' "$ours" 105 topic=BenchmarkTest

run_checks() {
  local checks=$1 address=$2; shift 2
  for names in "$@"; do
    printf '\n== %s: %s\n' "$checks" "$names"
    NAMESRV_ADDR=$address run_java castmq.interop.Interop "$names" | tee "$work/out" || failed=1
    grep '^interop' "$work/out" >>"$work/closing" || failed=1
  done
}
run_checks "broker of CastMQ, name server of RocketMQ" "$theirs" "$@"
run_checks "broker of RocketMQ, name server of CastMQ" "$ours" "$@"

printf '\n== leaving\n'
"$interop/ask.py" "$theirs" 105 topic=TBW102 | grep -q "127.0.0.1:$OUR_BROKER" || fail "the broker of CastMQ was lost meanwhile"
kill "$broker_pid"; wait "$broker_pid"
until_says "a broker of CastMQ that stops says so" '"brokerAddrTable":{}' "$theirs" 106
kill "$(cat "$work/genuine/broker.pid")"
until_says "a broker of RocketMQ that stops says so" '"brokerAddrTable":{}' "$ours" 106

printf '\n== slave of RocketMQ, master and name server of CastMQ\n'
eval "$(free_ports OUR_BROKER SLAVE_NAMES SLAVE)"
start_castmq master broker --data "$work/data" --listen "127.0.0.1:$OUR_BROKER" -n "$ours"
until_says "the master is known" "127.0.0.1:$OUR_BROKER" "$ours" 106
"$interop/ask.py" "127.0.0.1:$OUR_BROKER" 17 topic=of-the-master defaultTopic=TBW102 readQueueNums=3 writeQueueNums=3 perm=6 \
  topicFilterType=SINGLE_TAG order=false >/dev/null
"$interop/ask.py" "127.0.0.1:$OUR_BROKER" 200 -- '{"groupName":"group-of-the-master"}' >/dev/null
# Nobody registers at its own name server.
GENUINE_REGISTERS_AT="$ours;127.0.0.1:$SLAVE_NAMES" GENUINE_SETTINGS=$'brokerId=1\nbrokerRole=SLAVE\nfetchNamesrvAddrByAddressServer=false' \
  "$interop/genuine.sh" start "$work/slave" "$SLAVE_NAMES" "$SLAVE" >/dev/null || failed=1
until_says "both are members of the set" "\"1\":\"127.0.0.1:$SLAVE\"" "$ours" 901 clusterName=DefaultCluster brokerName=broker-a
until_has "the slave has the master's topics" of-the-master "$work/slave/broker/store/config/topics.json"
until_has "the slave has the master's groups" group-of-the-master "$work/slave/broker/store/config/subscriptionGroup.json"
until_has "the slave hears of its master" "Update master address from .* to 127.0.0.1:$OUR_BROKER" "$work/slave/broker/logs"

printf '\n== closing lines\n'
cat "$work/closing"
exit "$failed"
