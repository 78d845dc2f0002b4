#!/usr/bin/env bash
# Makes fixtures/genuine/store.bin anew: a small store that RocketMQ's own broker filled and left in a clean stop, for
# tests/takeover.rs. See castmq.interop.Fill for what it holds, a few of each kind.
set -euo pipefail
source "$(dirname "$0")/common.sh"

work=$(mktemp -d)
trap '"$interop/genuine.sh" kill "$work/genuine"; rm -rf "$work"' EXIT
build_java
GENUINE_SETTINGS="mappedFileSizeCommitLog=1048576
mappedFileSizeConsumeQueue=6000
mappedFileSizeTimerLog=104857600
maxMessageSize=65536
maxHashSlotNum=100
maxIndexNum=1000
messageDelayLevel=1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h
transactionCheckInterval=60000" "$interop/genuine.sh" start "$work/genuine" >"$work/address"
export "$(cat "$work/address")"
JAVA_SYSTEM_PROPERTIES=-Dfew=4 run_java castmq.interop.Fill 40
"$interop/genuine.sh" stop "$work/genuine"
"$interop/store.py" "$work/genuine/broker/store" "$interop/fixtures/genuine/store.bin"
