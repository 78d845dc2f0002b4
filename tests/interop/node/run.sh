#!/usr/bin/env bash
# The checks with the npm package ali-ons, against the name server of NAMESRV_ADDR.
set -euo pipefail
source "$(dirname "$0")/../common.sh"
: "${NAMESRV_ADDR:?says where the name server is, as 127.0.0.1:9876}"

here="$interop/node" installed="$cache/node"
if ! cmp -s "$here/package.json" "$installed/package.json"; then
  mkdir -p "$installed"
  cp "$here/package.json" "$here/package-lock.json" "$installed/"
  npm --prefix "$installed" ci --silent --no-audit --no-fund >&2 || { rm "$installed/package.json"; exit 1; }
fi
# The package writes its log below HOME.
mkdir -p "$cache/home"
HOME="$cache/home" NODE_PATH="$installed/node_modules" node --max-old-space-size=256 "$here/interop.js"
