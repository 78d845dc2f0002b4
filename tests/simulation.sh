#!/usr/bin/env bash
# Runs 20,000 new seeds of clusters in a simulated network, or as many as the first argument says, or those from the second on.
set -euo pipefail
cd "$(dirname "$0")/.."
export CASTMQ_RUNS=${1:-20000} CASTMQ_FIRST_SEED=${2:-$(date +%s)}
cargo test --profile simulation --test simulation -- --nocapture
