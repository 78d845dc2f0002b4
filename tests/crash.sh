#!/usr/bin/env bash
# Kills the release binary 200 times under load (or as often as the first argument says) and checks every message.
set -euo pipefail
cd "$(dirname "$0")/.."
CASTMQ_CRASH_CYCLES=${1:-200} cargo test --release --test crash -- --nocapture
