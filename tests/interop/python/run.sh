#!/usr/bin/env bash
# The checks with the Python package `rocketmq`, against the name server of NAMESRV_ADDR.
set -euo pipefail
source "$(dirname "$0")/../common.sh"
: "${NAMESRV_ADDR:?says where the name server is, as 127.0.0.1:9876}"

here="$interop/python" venv="$cache/python"
if ! cmp -s "$here/requirements.txt" "$venv/requirements.txt"; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt" >&2
  cp "$here/requirements.txt" "$venv/requirements.txt"
fi
# The C++ client writes its log below HOME, and reads at its start only whether it may.
mkdir -p "$cache/home"
HOME="$cache/home" "$venv/bin/python" "$here/interop.py"
