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

messages=${1:-20000}
[ $# -gt 0 ] && shift
ways=("$@")
[ ${#ways[@]} -gt 0 ] || ways=(genuine-stopped genuine-killed castmq-stopped castmq-killed)

root=$(cd "$interop/../.." && pwd)
if [ -z "${CASTMQ:-}" ]; then
  CASTMQ=$root/target/release/castmq
  [ -x "$CASTMQ" ] || CASTMQ=$root/target/debug/castmq
fi
export CASTMQ_RETENTION__DISK_REFUSE_WRITES_PERCENT=95 CASTMQ_RETENTION__FORCE_CLEAN_ENABLED=false CASTMQ_LOG=warn

# Sizes of files are RocketMQ's own, but for the log's; delays are, so that what is under way stays that while a broker starts.
export GENUINE_SETTINGS="mappedFileSizeCommitLog=134217728
mappedFileSizeConsumeQueue=6000000
mappedFileSizeTimerLog=104857600
maxHashSlotNum=500000
maxIndexNum=2000000
messageDelayLevel=1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h
flushConsumerOffsetInterval=2000"

work=$(mktemp -d -p "${TAKEOVER_DIR:-${TMPDIR:-/tmp}}")
castmq_pid=
end() {
  [ -z "$castmq_pid" ] || kill -9 "$castmq_pid" 2>/dev/null || true
  for dir in "$work"/*/; do
    [ ! -e "$dir/broker.conf" ] || "$interop/genuine.sh" kill "$dir"
  done
  [ -n "${KEEP:-}" ] && echo "kept: $work" || rm -rf "$work"
}
trap end EXIT

seconds() { date +%s.%N; }
since() { python3 -c "import sys; print(f'{float(sys.argv[2]) - float(sys.argv[1]):.2f} s')" "$1" "$2"; }

# genuine DIR: starts RocketMQ there.
genuine() {
  local began; began=$(seconds)
  "$interop/genuine.sh" start "$1" "$NAMESRV" "$BROKER" >"$1.address"
  export "$(cat "$1.address")"
  echo "RocketMQ is ready after $(since "$began" "$(seconds)"), its name server's start included"
}

# castmq DIR: starts CastMQ there with RocketMQ's own configuration.
castmq() {
  sed -e "s|=.*/broker/store|=$1/broker/store|" -e '/^namesrvAddr\|^diskSpace/d' "$work/broker.conf" >"$1/castmq.properties"
  : >"$1/castmq.out"
  local began; began=$(seconds)
  NAMESRV_ADDR='' "$CASTMQ" -c "$1/castmq.properties" --namesrv-listen "127.0.0.1:$NAMESRV" >"$1/castmq.out" 2>>"$1/castmq.log" &
  castmq_pid=$!
  until grep -q ready "$1/castmq.out"; do
    kill -0 "$castmq_pid" 2>/dev/null || { cat "$1/castmq.log"; return 1; }
    sleep 0.01
  done
  echo "CastMQ is ready after $(since "$began" "$(seconds)")"
  export NAMESRV_ADDR=127.0.0.1:$NAMESRV
}

# stop_castmq SIGNAL
stop_castmq() {
  kill -"$1" "$castmq_pid"
  wait "$castmq_pid" 2>/dev/null || true
  castmq_pid=
}

filled() {
  local began; began=$(seconds)
  run_java castmq.interop.Fill "$messages" || return 1
  echo "filled within $(since "$began" "$(seconds)")"
}

# audited NAME: what the broker at NAMESRV_ADDR says of all that.
audited() {
  local began; began=$(seconds)
  run_java castmq.interop.Audit >"$work/$1.txt" || return 1
  echo "audited $1 within $(since "$began" "$(seconds)"): $(wc -l <"$work/$1.txt") lines, $(awk '/^queue/ { sum += $7 } END { print sum }' "$work/$1.txt") messages"
}

copied() { mkdir -p "$2"; cp -a --sparse=always "$1/." "$2/"; }

compare() {
  if diff "$work/$1.txt" "$work/$2.txt"; then
    echo "same: $1, $2"
  else
    echo "DIFFERENT: $1, $2"; return 1
  fi
}

takeover() {
  local way=$1 NAMESRV BROKER
  local written=$work/$way served=$work/$way-served
  eval "$(free_ports NAMESRV BROKER)"
  mkdir -p "$written/broker/store" "$served"
  printf '\n== %s, %d messages\n' "$way" "$messages"
  case $way in
    genuine-*)
      genuine "$written"; cp "$written/broker.conf" "$work/broker.conf"
      filled || return 1
      if [ "$way" = genuine-stopped ]; then "$interop/genuine.sh" stop "$written"; else "$interop/genuine.sh" kill "$written"; fi
      copied "$written" "$served"
      # Times that messages wait go on: first who is to be tested, so that the other cannot be the one to deliver late.
      castmq "$served" && audited "$way-by-castmq" || return 1
      stop_castmq TERM
      genuine "$written" && audited "$way-by-genuine" || return 1
      "$interop/genuine.sh" stop "$written"
      ;;
    castmq-*)
      # Only for its configuration.
      "$interop/genuine.sh" start "$served" "$NAMESRV" "$BROKER" >/dev/null; "$interop/genuine.sh" stop "$served"
      cp "$served/broker.conf" "$work/broker.conf"
      rm -rf "$served/broker/store"
      castmq "$written" && filled || return 1
      if [ "$way" = castmq-stopped ]; then stop_castmq TERM; else stop_castmq KILL; fi
      copied "$written" "$served"
      "$CASTMQ" store export-config "$served/broker/store" -c "$written/castmq.properties" || return 1
      genuine "$served" && audited "$way-by-genuine" || return 1
      "$interop/genuine.sh" stop "$served"
      castmq "$written" && audited "$way-by-castmq" || return 1
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
