#!/usr/bin/env bash
# RocketMQ's own clients and others' against a broker: RocketMQ's own or CastMQ, started and stopped here, or that of a name server's
# address.
#
#   run.sh [genuine|castmq|ADDRESS] [mqadmin|java|java-binary|python|node|rust]...
#
# Runs all sets of checks, or those that are named. Prints the lines of each, and at the end the closing line of each. mqadmin comes
# first: it wants servers that hold nothing else, and its output is compared with that of RocketMQ's own servers, or, where that is known
# to differ, with what CastMQ's give. All sets for CastMQ run side by side, each against a broker of its own.
set -uo pipefail
source "$(dirname "$0")/common.sh"

work=$(mktemp -d)
server=${1:-genuine}
sets=("${@:2}")
running=()
end() {
  [ ${#running[@]} -eq 0 ] || kill "${running[@]}" 2>/dev/null
  [ ! -e "$work/servers" ] || "$interop/$server.sh" stop "$work/servers"
  rm -rf "$work"
}
trap end EXIT
require_tools || exit 1

failed=0
if [ "$server" = castmq ] && [ ${#sets[@]} -eq 0 ]; then
  build_java || exit 1
  for lane in "rust" "mqadmin" "java java-binary" "python node"; do
    # shellcheck disable=SC2086 # several sets in one lane
    "$0" castmq $lane >"$work/$lane" 2>&1 & running+=($!)
  done
  for lane in "${running[@]}"; do wait "$lane" || failed=1; done
  running=()
  cat "$work"/*
  exit "$failed"
fi

case $server in
  genuine | castmq)
    "$interop/$server.sh" start "$work/servers" >"$work/address" || exit 1
    export "$(cat "$work/address")"
    ;;
  *) export NAMESRV_ADDR=$server ;;
esac
expected=$interop/expected
if [ "$server" != genuine ]; then
  expected=$work/expected
  cp -r "$interop/expected" "$expected"
  cp "$interop/expected-castmq"/*.txt "$expected"
fi

check() {
  [[ ${#sets[@]} -eq 0 || " ${sets[*]} " == *" $1 "* ]] || return 0
  printf '\n== %s\n' "$1"; shift
  "$@" | tee "$work/out" || failed=1
  grep '^interop' "$work/out" >>"$work/closing" || true
}

compare_mqadmin() {
  "$interop/mqadmin.sh" "$cache/mqadmin" || return 1
  local same differ
  # What differs is gone with the working folder.
  diff -ra "$expected" "$cache/mqadmin" | head -n 200
  differ=$(diff -rq "$expected" "$cache/mqadmin" | wc -l)
  same=$(($(ls "$expected" | wc -l) - differ))
  echo "interop mqadmin: $same passed, $differ failed"
  [ "$differ" -eq 0 ]
}

build_java || exit 1
check mqadmin compare_mqadmin
check java run_java castmq.interop.Interop
JAVA_SYSTEM_PROPERTIES=-Drocketmq.serialize.type=ROCKETMQ check java-binary run_java castmq.interop.Interop send:
check python "$interop/python/run.sh"
check node "$interop/node/run.sh"
check rust "$interop/rust/run.sh"

printf '\n== closing lines\n'
cat "$work/closing"
exit "$failed"
