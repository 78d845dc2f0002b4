#!/usr/bin/env bash
# Kills the masters of a cluster of real processes under load and promotes their slaves, 100 rounds (or as many as the first argument
# says) of a sync_master and as many of an async_master; and stops each kind of server for 5 s, and starts all of them anew.
set -euo pipefail
cd "$(dirname "$0")/.."
CASTMQ_FAILOVER_ROUNDS=${1:-100} CASTMQ_AVAILABILITY_SECONDS=${2:-5} \
  cargo test --release --test failover -- --nocapture --test-threads 1
