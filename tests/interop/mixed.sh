#!/usr/bin/env bash
# Masters and slaves of both kinds, and docs/migration.md as it is written: a CastMQ slave joins a RocketMQ master, catches up, is
# promoted, and serves what the master had; and a RocketMQ slave copies a CastMQ master.
#
#   mixed.sh [MESSAGES [WAY...]]
#
# A WAY is migration or rocketmq-slave; both where none is named. CASTMQ is the binary, as for takeover.sh.
set -euo pipefail
source "$(dirname "$0")/common.sh"
source "$(dirname "$0")/two_brokers.sh"

messages=${1:-4000}
ways=("${@:2}")
[ ${#ways[@]} -gt 0 ] || ways=(migration rocketmq-slave)

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

rocketmq_slave() {
  local NAMESRV BROKER SLAVE SLAVE_NAMESRV
  local master=$work/rocketmq-slave-master slave=$work/rocketmq-slave-slave
  eval "$(free_ports NAMESRV BROKER SLAVE SLAVE_NAMESRV)"
  mkdir -p "$master/broker/store"
  # A name server that knows no master of its own would have it follow nobody.
  GENUINE_REGISTERS_AT=nowhere GENUINE_SETTINGS="$GENUINE_SETTINGS
brokerRole=SLAVE
brokerId=1
haMasterAddress=127.0.0.1:$((BROKER + 1))" genuine "$slave" "$SLAVE_NAMESRV" "$SLAVE" || return 1
  castmq_properties "$slave/broker.conf" "$master"
  sed -i '/^brokerId=\|^brokerRole=\|^haMasterAddress=\|^listenPort=\|^haListenPort=/d' "$master/castmq.properties"
  cat >>"$master/castmq.properties" <<CONF
listenPort=$BROKER
haListenPort=$((BROKER + 1))
CONF
  start_castmq "$master" "$NAMESRV" && filled || return 1
  # A master takes slaves that its name servers know. Alone, it takes whoever comes.
  stop_castmq TERM
  start_castmq_alone "$master" && caught_up "$BROKER" "$SLAVE" || return 1
  stop_castmq TERM
  "$interop/genuine.sh" stop "$slave"
  same_logs "$master/broker/store/commitlog" "$slave/broker/store/commitlog" "$(cat "$work/end")"
}

# start_castmq_alone DIR: a broker that no name server knows.
start_castmq_alone() {
  : >"$1/castmq.out"
  NAMESRV_ADDR='' "$CASTMQ" broker -c "$1/castmq.properties" >"$1/castmq.out" 2>>"$1/castmq.log" &
  castmq_pid=$!
  until grep -q ready "$1/castmq.out"; do
    kill -0 "$castmq_pid" 2>/dev/null || { cat "$1/castmq.log"; return 1; }
    sleep 0.1
  done
}

# same_logs FOLDER FOLDER END: whether two logs that begin with the same file have the same bytes.
same_logs() {
  local file at bytes
  for file in "$1"/*; do
    at=$((10#$(basename "$file")))
    bytes=$(($3 - at < $(stat -c %s "$file") ? $3 - at : $(stat -c %s "$file")))
    [ "$bytes" -le 0 ] || cmp -n "$bytes" "$file" "$2/$(basename "$file")" || return 1
  done
  echo "same: $3 bytes of log"
}

build_java
failed=0
for way in "${ways[@]}"; do
  printf '\n== %s, %d messages\n' "$way" "$messages"
  "${way//-/_}" || failed=1
done
exit "$failed"
