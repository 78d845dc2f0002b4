#!/usr/bin/env bash
# docs/migration.md as it is written: a CastMQ slave joins a RocketMQ master, catches up, is promoted, and serves what the master had.
#
#   mixed.sh [MESSAGES]
#
# CASTMQ is the binary, as for takeover.sh. Prints what differs from what the old master itself says, started again.
set -uo pipefail
source "$(dirname "$0")/common.sh"
source "$(dirname "$0")/two_brokers.sh"

messages=${1:-4000}

# caught_up MASTER SLAVE: until both logs end at the same place.
caught_up() {
  local began; began=$(seconds)
  run_java castmq.interop.CaughtUp "127.0.0.1:$1" "127.0.0.1:$2" >"$work/end" || return 1
  echo "the slave has caught up to $(cat "$work/end") within $(since "$began" "$(seconds)")"
}

# The steps of docs/migration.md, by their numbers.
migration() {
  local NAMESRV BROKER SLAVE SLAVE_NAMESRV
  local old=$work/migration-old new=$work/migration-new
  eval "$(free_ports NAMESRV BROKER SLAVE SLAVE_NAMESRV)"
  mkdir -p "$new/broker/store"
  genuine "$old" && filled || return 1

  # 1. What the master has so far, while it runs.
  cp -a --sparse=always "$old/broker/store/commitlog" "$old/broker/store/config" "$new/broker/store/"
  # 2. The slave's configuration is the master's, but for what is another's.
  castmq_properties "$old/broker.conf" "$new"
  sed -i '/^brokerId=\|^brokerRole=\|^listenPort=\|^haListenPort=/d' "$new/castmq.properties"
  cat >>"$new/castmq.properties" <<CONF
brokerRole=SLAVE
brokerId=1
listenPort=$SLAVE
haListenPort=$((SLAVE + 1))
haMasterAddress=127.0.0.1:$((BROKER + 1))
replication.ha_master_is_rocketmq=true
replication.master_address=127.0.0.1:$BROKER
CONF
  # 3. It follows.
  start_castmq "$new" "$SLAVE_NAMESRV" && caught_up "$BROKER" "$SLAVE" || return 1
  # Offsets and progress are asked for every second.
  sleep 5
  # 4. The master stops.
  "$interop/genuine.sh" stop "$old"
  # 5. The slave becomes the master, and clients come to its name server.
  "$CASTMQ" admin broker promote broker-a -n "127.0.0.1:$SLAVE_NAMESRV" || return 1
  until "$CASTMQ" admin cluster list -n "127.0.0.1:$SLAVE_NAMESRV" | grep -q master; do sleep 0.2; done
  audited migration-by-castmq || return 1
  stop_castmq TERM
  genuine "$old" && audited migration-by-genuine || return 1
  "$interop/genuine.sh" stop "$old"
  compare migration-by-genuine migration-by-castmq
}

build_java
printf '\n== migration, %d messages\n' "$messages"
migration
