#!/usr/bin/env bash
# One broker's store served by the other: filled by one, stopped or killed, and looked at under both, which have to say the same.
#
#   takeover.sh [MESSAGES [WAY...]]
#
# A WAY is genuine-stopped or genuine-killed (RocketMQ fills, CastMQ takes over), or castmq-stopped or castmq-killed (CastMQ fills,
# `castmq store export-config`, RocketMQ takes over); all four where none is named. CASTMQ is the binary, target/release/castmq or
# target/debug/castmq where it is not set. Prints what differs, and how long starts took.
set -euo pipefail
source "$(dirname "$0")/common.sh"
source "$(dirname "$0")/two_brokers.sh"

messages=${1:-20000}
ways=("${@:2}")
[ ${#ways[@]} -gt 0 ] || ways=(genuine-stopped genuine-killed castmq-stopped castmq-killed)

takeover() {
  local way=$1 NAMESRV BROKER
  local written=$work/$way served=$work/$way-served
  eval "$(free_ports NAMESRV BROKER)"
  mkdir -p "$written/broker/store" "$served"
  printf '\n== %s, %d messages\n' "$way" "$messages"
  case $way in
    genuine-*)
      genuine "$written" || return 1
      filled || return 1
      if [ "$way" = genuine-stopped ]; then "$interop/genuine.sh" stop "$written"; else "$interop/genuine.sh" kill "$written"; fi
      copied "$written" "$served"
      # Times that messages wait go on: first who is to be tested, so that the other cannot be the one to deliver late.
      castmq_properties "$written/broker.conf" "$served"
      start_castmq "$served" "$NAMESRV" && audited "$way-by-castmq" || return 1
      stop_castmq TERM
      genuine "$written" && audited "$way-by-genuine" || return 1
      "$interop/genuine.sh" stop "$written"
      ;;
    castmq-*)
      # Only for its configuration.
      "$interop/genuine.sh" start "$served" "$NAMESRV" "$BROKER" >/dev/null; "$interop/genuine.sh" stop "$served"
      castmq_properties "$served/broker.conf" "$written"
      rm -rf "$served/broker/store"
      start_castmq "$written" "$NAMESRV" && filled || return 1
      if [ "$way" = castmq-stopped ]; then stop_castmq TERM; else stop_castmq KILL; fi
      copied "$written" "$served"
      castmq_properties "$served/broker.conf" "$served"
      "$CASTMQ" store export-config "$served/broker/store" -c "$served/castmq.properties" || return 1
      genuine "$served" && audited "$way-by-genuine" || return 1
      "$interop/genuine.sh" stop "$served"
      start_castmq "$written" "$NAMESRV" && audited "$way-by-castmq" || return 1
      stop_castmq TERM
      ;;
    *) echo "no such way: $way"; exit 2 ;;
  esac
  compare "$way-by-genuine" "$way-by-castmq"
}

build_java
failed=0
for way in "${ways[@]}"; do
  takeover "$way" || failed=1
done
exit "$failed"
