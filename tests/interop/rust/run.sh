#!/usr/bin/env bash
# The checks with the crate rocketmq-client-rust, against the name server of NAMESRV_ADDR; an argument names those to run.
set -euo pipefail
source "$(dirname "$0")/../common.sh"
: "${NAMESRV_ADDR:?says where the name server is, as 127.0.0.1:9876}"

export CARGO_TARGET_DIR="$cache/.."
cargo build -q --locked --manifest-path "$interop/rust/Cargo.toml" >&2
# The crate writes its log below HOME, and reads there only the offsets of broadcast consumers.
mkdir -p "$cache/home"
HOME="$cache/home" env "rocketmq.client.rebalance.waitInterval=2000" "$CARGO_TARGET_DIR/debug/interop" "$@" 2>"$cache/rust.log"
