#!/usr/bin/env bash
# RocketMQ's own name server and one broker, as jars from Maven, on loopback and with all data and logs under DIR.
#
#   genuine.sh start DIR [NAMESRV_PORT [BROKER_PORT]]   prints NAMESRV_ADDR=… once the broker is registered
#   genuine.sh stop DIR
#   genuine.sh kill DIR                                leaves everything as a crash would
#
# Free ports are chosen where none are given. Times are short, so that tests that wait for them are quick. The broker registers at
# GENUINE_REGISTERS_AT, where that says so, in place of the name server itself. Lines of GENUINE_SETTINGS win over those of its
# configuration here, and GENUINE_HEAP is its heap.
set -euo pipefail
source "$(dirname "$0")/common.sh"

usage() { sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2; }
[ $# -ge 2 ] || usage

started_at() { [ -e "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

# launch NAME MAIN_CLASS HEAP ARGUMENT...: a server whose home, logs and output are under $dir.
launch() {
  local name=$1 main=$2 heap=$3; shift 3
  env -u NAMESRV_ADDR java "-Xms$heap" "-Xmx$heap" "${java_flags[@]}" -Duser.home="$dir/$name" -Drocketmq.home.dir="$dir/$name" \
    -Drocketmq.client.logRoot="$dir/$name/logs" -Dio.netty.tryReflectionSetAccessible=true \
    -cp "$cache/lib/*" "$main" "$@" >"$dir/$name.out" 2>&1 </dev/null &
  echo $! >"$dir/$name.pid"
}

# await NAME PATTERN PATH: until a file there has the pattern; fails when the server ends or takes more than a minute.
await() {
  for _ in $(seq 600); do
    grep -rqs "$2" "$3" && return
    started_at "$dir/$1.pid" || break
    sleep 0.1
  done
  echo "the genuine $1 did not start:" >&2; tail -n 20 "$dir/$1.out" >&2; exit 1
}

start() {
  fetch_genuine
  mkdir -p "$dir/namesrv" "$dir/broker/store"
  local NAMESRV BROKER
  eval "$(free_ports NAMESRV BROKER)"
  NAMESRV=${1:-$NAMESRV} BROKER=${2:-$BROKER}

  # Those of a start before would say that the broker is registered.
  rm -rf "$dir/namesrv/logs"
  cat >"$dir/namesrv.conf" <<CONF
listenPort=$NAMESRV
bindAddress=127.0.0.1
kvConfigPath=$dir/namesrv/kvConfig.json
configStorePath=$dir/namesrv/namesrv.properties
CONF
  launch namesrv org.apache.rocketmq.namesrv.NamesrvStartup 128m -c "$dir/namesrv.conf"
  await namesrv "boot success" "$dir/namesrv.out"

  cat >"$dir/broker.conf" <<CONF
$broker_settings

brokerIP2=127.0.0.1
listenPort=$BROKER
haListenPort=$((BROKER + 1))
namesrvAddr=${GENUINE_REGISTERS_AT:-127.0.0.1:$NAMESRV}
storePathRootDir=$dir/broker/store
storePathCommitLog=$dir/broker/store/commitlog
enablePopLog=false

# Users and rules can be kept, so that the commands for them have something to do; nobody is asked who they are.
authenticationMetadataProvider=org.apache.rocketmq.auth.authentication.provider.LocalAuthenticationMetadataProvider
authorizationMetadataProvider=org.apache.rocketmq.auth.authorization.provider.LocalAuthorizationMetadataProvider
authConfigPath=$dir/broker/store/auth

# However full the disk, and however busy the machine.
diskSpaceWarningLevelRatio=0.99
diskSpaceCleanForciblyRatio=0.98
waitTimeMillsInSendQueue=3000

mappedFileSizeTimerLog=1048320
transactionOpBatchInterval=500
reviveInterval=500

${GENUINE_SETTINGS:-}
CONF
  launch broker org.apache.rocketmq.broker.BrokerStartup "${GENUINE_HEAP:-512m}" -c "$dir/broker.conf"
  await broker "boot success" "$dir/broker.out"
  await namesrv "new broker registered" "$dir/namesrv/logs"
  echo "NAMESRV_ADDR=127.0.0.1:$NAMESRV"
}

stop() {
  local name
  for name in broker namesrv; do
    started_at "$dir/$name.pid" || continue
    kill "$(cat "$dir/$name.pid")"
    for _ in $(seq 300); do started_at "$dir/$name.pid" || break; sleep 0.1; done
    kill -KILL "$(cat "$dir/$name.pid")" 2>/dev/null || true
    rm -f "$dir/$name.pid"
  done
}

crash() {
  local name
  for name in broker namesrv; do
    started_at "$dir/$name.pid" || continue
    kill -KILL "$(cat "$dir/$name.pid")"
    while started_at "$dir/$name.pid"; do sleep 0.1; done
    rm -f "$dir/$name.pid"
  done
}

mkdir -p "$2"
command=$1 dir=$(cd "$2" && pwd); shift 2
case $command in
  start) start "$@" ;;
  stop) stop ;;
  kill) crash ;;
  *) usage ;;
esac
