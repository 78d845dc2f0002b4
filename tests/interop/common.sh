# What the scripts of the interop tests share; sourced, not run. Everything that is fetched or built lands under target/interop.

interop=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$(cd "$interop/../.." && pwd)/target/interop
mkdir -p "$cache"

java_flags=(--add-exports=java.base/sun.nio.ch=ALL-UNNAMED --add-opens=java.base/java.nio=ALL-UNNAMED
  --add-opens=java.base/sun.nio.ch=ALL-UNNAMED --add-opens=java.base/java.lang=ALL-UNNAMED
  ${JAVA_TUNING:--XX:+UseSerialGC -XX:TieredStopAtLevel=1})

# Installs what the programs need and is not there, where that is allowed.
require_tools() {
  local missing=()
  command -v javac >/dev/null || missing+=(openjdk-17-jdk-headless)
  command -v mvn >/dev/null || missing+=(maven)
  python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3 python3-venv)
  command -v npm >/dev/null || missing+=(nodejs npm)
  [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "install first: ${missing[*]}" >&2
    return 1
  fi
  { apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}"; } >&2
}

# Fetches RocketMQ's name server, broker and tools into $cache/lib, once for each version that the pom names.
fetch_genuine() {
  local pom="$interop/genuine/pom.xml" lib="$cache/lib"
  cmp -s "$pom" "$lib/pom.xml" && return
  rm -rf "$lib"
  mvn -q -B -f "$pom" dependency:copy-dependencies -DoutputDirectory="$lib" >&2
  cp "$pom" "$lib/pom.xml"
}

# Builds the Java scenarios into $cache/java/classes, with the client's jars beside them, once for each state of their sources.
build_java() {
  local state built="$cache/java/state"
  state=$(find "$interop/java" -type f -exec cksum {} + | sort)
  [ "$state" = "$(cat "$built" 2>/dev/null)" ] && return
  mvn -q -B -f "$interop/java/pom.xml" compile dependency:copy-dependencies >&2 && echo "$state" >"$built"
}

# What brokers of both kinds are set to.
broker_settings='brokerClusterName=DefaultCluster
brokerName=broker-a
brokerId=0
brokerRole=ASYNC_MASTER
brokerIP1=127.0.0.1
bindAddress=127.0.0.1

autoCreateTopicEnable=true
autoCreateSubscriptionGroup=true
enablePropertyFilter=true
traceTopicEnable=true
timerWheelEnable=true
recallMessageEnable=true

# However full the machine has its disk.
diskMaxUsedSpaceRatio=95

# Small files: each start creates them anew.
mappedFileSizeCommitLog=33554432
mappedFileSizeConsumeQueue=600000
maxHashSlotNum=50000
maxIndexNum=200000

# Short times. Level 3 is the delay of the first retry.
messageDelayLevel=1s 2s 1s 1s 2s 2s 3s 3s 4s 4s 5s 5s 10s 20s 30s 1m 1h 2h
transactionCheckInterval=2000
transactionTimeOut=1000'

# free_ports NAME...: prints NAME=PORT for each, all free now on loopback; a broker also takes the ports 2 below and 1 above its own.
free_ports() {
  python3 - "$@" <<'PY'
import random, socket, sys
taken = set()
def free(ports):
    for port in ports:
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                return False
    return not taken & set(ports)
for name in sys.argv[1:]:
    while True:
        port = random.randrange(20000, 32000)
        ports = range(port - 2, port + 2)
        if free(ports):
            break
    taken |= set(ports)
    print(f"{name}={port}")
PY
}

# run_java MAIN_CLASS ARGUMENT...: a program of $cache/java, with its logs and the offsets of broadcast consumers under $cache.
run_java() {
  java -Xmx512m "${java_flags[@]}" -Duser.home="$cache/home" -Drocketmq.client.logRoot="$cache/home/logs" ${JAVA_SYSTEM_PROPERTIES:-} \
    -cp "$cache/java/classes:$cache/java/dependency/*" "$@"
}
