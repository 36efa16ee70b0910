#!/bin/sh
# Installs Chromium, which the tests of the report open pages with, where none is found: `sh scripts/browser.sh`.
set -eu
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null 2>&1; then
        exit 0
    fi
done
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    apt-get update -q && apt-get install -qy --no-install-recommends chromium
else
    echo "No Chromium was found, and it can only be installed by root with apt-get; install it to run the browser tests" >&2
fi
