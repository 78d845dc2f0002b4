#!/usr/bin/env bash
# Builds the examples, runs each against a broker of its own on free ports, and looks at what they print.
# PROFILE=release takes release builds.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${PROFILE:-debug}
flags=()
[ "$profile" = debug ] || flags=(--profile "$profile")
built=${CARGO_TARGET_DIR:-target}/$profile

cargo build --locked "${flags[@]}" --bin castmq --examples

# However full the machine's disk is by other things.
export CASTMQ_RETENTION__DISK_REFUSE_WRITES_PERCENT=95 CASTMQ_RETENTION__FORCE_CLEAN_ENABLED=false

work=$(mktemp -d)
broker=
trap 'kill "$broker" 2>/dev/null || true; rm -rf "$work"' EXIT

"$built/castmq" --data "$work/data" --listen 127.0.0.1:0 --namesrv-listen 127.0.0.1:0 >"$work/out" 2>"$work/log" &
broker=$!
for _ in $(seq 100); do
  grep -q ready "$work/out" && break
  kill -0 "$broker" 2>/dev/null || break
  sleep 0.1
done
grep -q ready "$work/out" || { echo "the broker did not become ready"; cat "$work/log"; exit 1; }
namesrv=$(sed -n 's/.*name server \([^,]*\),.*/\1/p' "$work/out")

# Runs an example and checks that it prints every line that is named.
example() {
  local name=$1; shift
  printf -- '-- %s\n' "$name"
  timeout 60 "$built/examples/$name" -n "$namesrv" >"$work/$name" 2>&1 ||
    { echo "$name failed"; cat "$work/$name" "$work/log"; exit 1; }
  local line
  for line in "$@"; do
    grep -qE "$line" "$work/$name" || { echo "$name does not print: $line"; cat "$work/$name"; exit 1; }
  done
}

example quickstart '^stored as greetings@' '^received "hello 5" from greetings@' '^done$'
example producer '^one message, stored as orders@' '^100 messages, in batches$'
example push_consumer ': 3 apples$' ': 100 plums$' '^billed 201 orders$'
example pull_consumer ' messages, [0-9]+ bytes$' '^orders@.* was read up to '
example ordered '^order 5 shipped$'
example broadcast '^first member: the price is 10$' '^second member: the price is 10$'
example delayed '^at once: put the bread in$' '^after a second: take the bread out$'
example retry_dlq '^good, attempt 1: Done$' '^flaky, attempt 2: Done$' '^dead letter: poison, sent to jobs$'
example transaction '^ships order 1$' '^ships order 3$'
example request_reply '^there are 6 apples$' '^there are 8 cherries$' '^request [0-9a-f]{32} to stock was not replied to within 300ms'
example trace '^sent to parcels$' '^given to carriers, attempt 1$' '^carriers: Failed$' '^given to carriers, attempt 2$' '^carriers: Success$'
example idempotent '^500 messages acknowledged, over [0-9]+ connections$' '^500 are stored, 0 of them twice$'
example pop_worker '^fold is done$' '^worker [1-8] begins to break, attempt 2$' '^break is done$'
example jms_style '^order of 3 apples, redelivered: true$' '^bill for 3 apples: 147 cents$' '^a price of banana$' '^cheap: apple$' \
  '^cheap: avocado$' '^2 \+ 2 = 4, the answer to our question: true$'
example filter '^reds: apple, cherry$' '^heavies: apple, melon$'
! grep -q 'order 2' "$work/transaction" || { echo "a message that was rolled back was seen"; exit 1; }

# Each order goes through its steps, whatever happens to the others between them.
for order in 1 2 3 4 5; do
  steps=$(sed -n "s/^order $order //p" "$work/ordered" | tr '\n' ' ')
  [ "$steps" = "created paid packed shipped " ] || { echo "order $order went through: $steps"; exit 1; }
done

kill -TERM "$broker"; wait "$broker"
broker=
echo "examples passed"
