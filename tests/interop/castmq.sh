#!/usr/bin/env bash
# CastMQ's name server and one broker, on loopback and with all data and logs under DIR, with the settings of genuine.sh.
#
#   castmq.sh start DIR   prints NAMESRV_ADDR=… once the broker is registered
#   castmq.sh stop DIR
#
# CASTMQ is the binary, that of `cargo build --release` unless it says otherwise. It reads a file of RocketMQ's.
set -euo pipefail
source "$(dirname "$0")/common.sh"

usage() { sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2; }
[ $# -eq 2 ] || usage

binary=${CASTMQ:-${CARGO_TARGET_DIR:-$interop/../../target}/release/castmq}

runs() { [ -e "$dir/pid" ] && kill -0 "$(cat "$dir/pid")" 2>/dev/null; }

start() {
  [ -x "$binary" ] || { echo "$binary is missing: build it with cargo build --release, or say where it is with CASTMQ" >&2; exit 1; }
  local NAMESRV BROKER
  eval "$(free_ports NAMESRV BROKER)"

  cat >"$dir/broker.properties" <<CONF
$broker_settings

listenPort=$BROKER
storePathRootDir=$dir/store
storePathCommitLog=$dir/store/commitlog
cleanFileForciblyEnable=false

# RocketMQ's default, which is shorter than ours.
timerMaxDelaySec=259200
CONF
  CASTMQ_RETENTION__DISK_REFUSE_WRITES_PERCENT=95 CASTMQ_BROKER__VIP_CHANNEL=true \
    "$binary" -c "$dir/broker.properties" --namesrv-listen "127.0.0.1:$NAMESRV" \
    >"$dir/out" 2>"$dir/log" </dev/null &
  echo $! >"$dir/pid"
  for _ in $(seq 300); do
    grep -q '^castmq ready' "$dir/out" && { echo "NAMESRV_ADDR=127.0.0.1:$NAMESRV"; return; }
    runs || break
    sleep 0.1
  done
  echo "CastMQ did not start:" >&2; tail -n 20 "$dir/log" >&2; exit 1
}

stop() {
  runs || return 0
  kill "$(cat "$dir/pid")"
  for _ in $(seq 100); do runs || break; sleep 0.1; done
  kill -KILL "$(cat "$dir/pid")" 2>/dev/null || true
  rm -f "$dir/pid"
}

mkdir -p "$2"
command=$1 dir=$(cd "$2" && pwd)
case $command in
  start) start ;;
  stop) stop ;;
  *) usage ;;
esac
