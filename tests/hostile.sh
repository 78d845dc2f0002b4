#!/usr/bin/env bash
# Sends a million bent frames over fifty connections to the release binary (or as many as the first argument says).
set -euo pipefail
cd "$(dirname "$0")/.."
CASTMQ_HOSTILE_FRAMES=${1:-1000000} CASTMQ_HOSTILE_CONNECTIONS=${2:-50} \
  cargo test --release --test hostile -- --nocapture
