#!/usr/bin/env bash
# RocketMQ's own clients and others' against a broker: RocketMQ's own, started and stopped here, or that of a name server's address.
#
#   run.sh [genuine|ADDRESS]
#
# Prints the lines of each set of checks, and at the end the closing line of each. mqadmin comes first: it wants servers that hold
# nothing else, and its output is compared with that of RocketMQ's own servers, or, where that is known to differ, with what
# CastMQ's give.
set -uo pipefail
source "$(dirname "$0")/common.sh"

work=$(mktemp -d)
end() {
  [ ! -e "$work/genuine" ] || "$interop/genuine.sh" stop "$work/genuine"
  rm -rf "$work"
}
trap end EXIT

if [ "${1:-genuine}" = genuine ]; then
  "$interop/genuine.sh" start "$work/genuine" >"$work/address" || exit 1
  export "$(cat "$work/address")"
  expected=$interop/expected
else
  export NAMESRV_ADDR=$1
  expected=$work/expected
  cp -r "$interop/expected" "$expected"
  cp "$interop/expected-castmq"/*.txt "$expected"
fi

failed=0
check() {
  printf '\n== %s\n' "$1"; shift
  "$@" | tee "$work/out" || failed=1
  grep '^interop' "$work/out" >>"$work/closing" || true
}

compare_mqadmin() {
  "$interop/mqadmin.sh" "$cache/mqadmin" || return 1
  local same differ
  differ=$(diff -rq "$expected" "$cache/mqadmin" | tee /dev/stderr | wc -l)
  same=$(($(ls "$expected" | wc -l) - differ))
  echo "interop mqadmin: $same passed, $differ failed"
  [ "$differ" -eq 0 ]
}

build_java || exit 1
check mqadmin compare_mqadmin
check java run_java castmq.interop.Interop
JAVA_SYSTEM_PROPERTIES=-Drocketmq.serialize.type=ROCKETMQ check "java, with binary headers" run_java castmq.interop.Interop send:
check python "$interop/python/run.sh"
check node "$interop/node/run.sh"
check rust "$interop/rust/run.sh"

printf '\n== closing lines\n'
cat "$work/closing"
exit "$failed"
