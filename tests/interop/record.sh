#!/usr/bin/env bash
# Records RocketMQ's own servers under mqadmin and the Java client, and writes what they answered to fixtures/genuine/frames.hex.
set -euo pipefail
source "$(dirname "$0")/common.sh"

work=$(mktemp -d)
recorder=
end() {
  [ ! -e "$work/genuine" ] || "$interop/genuine.sh" stop "$work/genuine"
  [ -z "$recorder" ] || kill "$recorder"
  recorder=
}
trap 'end; rm -rf "$work"' EXIT

fetch_genuine
build_java
eval "$(free_ports NAMESRV BROKER)"
python3 "$interop/record.py" "127.0.0.1:$NAMESRV" "127.0.0.1:$BROKER" "$work/frames" >"$work/address" & recorder=$!
until grep -q NAMESRV_ADDR "$work/address"; do sleep 0.1; done
export "$(cat "$work/address")"
GENUINE_REGISTERS_AT=$NAMESRV_ADDR "$interop/genuine.sh" start "$work/genuine" "$NAMESRV" "$BROKER" >/dev/null

# Small answers first. The recorder does not stand before the VIP port, so that check fails here.
"$interop/mqadmin.sh" "$work/mqadmin"
JAVA_SYSTEM_PROPERTIES=-Drocketmq.serialize.type=ROCKETMQ run_java castmq.interop.Interop "send: a synchronous" || true
run_java castmq.interop.Interop || true
end

mkdir -p "$interop/fixtures/genuine"
javap -constants -cp "$(ls "$cache"/lib/rocketmq-remoting-*.jar)" org.apache.rocketmq.remoting.protocol.RequestCode >"$work/codes"
"$interop/fixtures.py" "$work/frames" "$work/codes" >"$interop/fixtures/genuine/frames.hex"
