# What takeover.sh and mixed.sh share: RocketMQ and CastMQ by turns on one machine, their stores under $work; sourced after common.sh.

root=$(cd "$interop/../.." && pwd)
if [ -z "${CASTMQ:-}" ]; then
  CASTMQ=$root/target/release/castmq
  [ -x "$CASTMQ" ] || CASTMQ=$root/target/debug/castmq
fi
export CASTMQ_RETENTION__DISK_REFUSE_WRITES_PERCENT=95 CASTMQ_RETENTION__FORCE_CLEAN_ENABLED=false CASTMQ_LOG=warn

# Sizes of files are RocketMQ's own, but for the log's; delays are, so that what is under way stays that while a broker starts. Nor is
# anybody's transaction put aside while the other broker is looked at.
export GENUINE_SETTINGS="mappedFileSizeCommitLog=134217728
mappedFileSizeConsumeQueue=6000000
mappedFileSizeTimerLog=104857600
maxHashSlotNum=500000
maxIndexNum=2000000
messageDelayLevel=1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h
transactionCheckMax=10000
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

# genuine DIR [NAMESRV_PORT BROKER_PORT]: starts RocketMQ there.
genuine() {
  local began; began=$(seconds)
  "$interop/genuine.sh" start "$1" "${2:-$NAMESRV}" "${3:-$BROKER}" >"$1.address" || return 1
  export "$(cat "$1.address")"
  echo "RocketMQ is ready after $(since "$began" "$(seconds)"), its name server's start included"
}

# castmq_properties CONF DIR: RocketMQ's configuration for CastMQ in another folder, DIR/castmq.properties.
castmq_properties() {
  sed -e "s|=.*/broker/store|=$2/broker/store|" -e '/^namesrvAddr\|^diskSpace/d' "$1" >"$2/castmq.properties"
}

# start_castmq DIR NAMESRV_PORT: name server and broker, by DIR/castmq.properties.
start_castmq() {
  : >"$1/castmq.out"
  local began; began=$(seconds)
  NAMESRV_ADDR='' "$CASTMQ" -c "$1/castmq.properties" --namesrv-listen "127.0.0.1:$2" >"$1/castmq.out" 2>>"$1/castmq.log" &
  castmq_pid=$!
  until grep -q ready "$1/castmq.out"; do
    kill -0 "$castmq_pid" 2>/dev/null || { cat "$1/castmq.log"; return 1; }
    sleep 0.01
  done
  echo "CastMQ is ready after $(since "$began" "$(seconds)")"
  export NAMESRV_ADDR=127.0.0.1:$2
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

# compared NAME GENUINE: what is compared of NAME. After a crash some of what is under way comes twice from RocketMQ: it asks about open
# transactions as often as it had stored them again before, and after its own it enters timed messages into its timer again from its
# last checkpoint on, those included that the timer's log has already. CastMQ has to bring each once. What RocketMQ's key index has lost
# it does not find.
compared() {
  local twice
  case $1 in
    genuine-killed*) twice='settled|timed' ;;
    *killed*) twice=settled ;;
    *) cat "$work/$1.txt"; return ;;
  esac
  [ "$1" = "$2" ] || twice=none
  sed -E "s/^(under way taken-under-way-($twice): )[0-9]+ messages, ([0-9]+) distinct/\\1\\3 messages, \\3 distinct/" "$work/$1.txt" |
    grep -vFf <(sed -n 's/^\(key .*: \)\[none\]$/\1/p' "$work/$2.txt")
}

# compare GENUINE CASTMQ
compare() {
  if diff <(compared "$1" "$1") <(compared "$2" "$1"); then
    echo "same: $1, $2, $(compared "$2" "$1" | wc -l) lines"
  else
    echo "DIFFERENT: $1, $2"; return 1
  fi
}
