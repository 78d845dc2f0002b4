#!/usr/bin/env bash
# Runs mqadmin's commands (mqadmin.commands) against the name server of NAMESRV_ADDR, which should hold nothing else, and writes the
# normalised output of each to DIR, to be compared with that of the genuine broker:
#
#   mqadmin.sh DIR && diff -r tests/interop/expected DIR
set -euo pipefail
source "$(dirname "$0")/common.sh"
[ $# -eq 1 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 2; }
: "${NAMESRV_ADDR:?says where the name server is, as 127.0.0.1:9876}"

mkdir -p "$1"; output=$(cd "$1" && pwd)
rm -f "$output"/*.txt
build_java
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
JAVA_SYSTEM_PROPERTIES="-Djava.security.manager=allow -Djava.io.tmpdir=$work" run_java castmq.interop.Mqadmin "$interop/mqadmin.commands" "$output" 2>/dev/null
