#!/usr/bin/env bash
# Sends a million bent frames of each wire over fifty connections to the release binary (or as many as the arguments say).
set -euo pipefail
cd "$(dirname "$0")/.."
CASTMQ_HOSTILE_FRAMES=${1:-1000000} CASTMQ_HOSTILE_CONNECTIONS=${2:-50} \
  cargo test --release --test hostile --test hostile_remoting -- --nocapture
