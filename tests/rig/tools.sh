#!/bin/sh
# Install what the samples' tests need and this machine lacks. Where that cannot be done, the tests that need it say so
# and are skipped (PROCWATCH_NO_SKIP=1 makes that a failure).
set -u
cd "$(dirname "$0")/../.."

missing=""
command -v cargo >/dev/null 2>&1 || missing="$missing cargo"
command -v go >/dev/null 2>&1 || missing="$missing golang"
command -v node >/dev/null 2>&1 || missing="$missing nodejs"
command -v npm >/dev/null 2>&1 || missing="$missing npm"
command -v tmux >/dev/null 2>&1 || missing="$missing tmux"
command -v zsh >/dev/null 2>&1 || missing="$missing zsh"
command -v fish >/dev/null 2>&1 || missing="$missing fish"
if [ -n "$missing" ]; then
    if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing
    else
        echo "not installed:$missing; the tests that need them will be skipped" >&2
    fi
fi
if command -v npm >/dev/null 2>&1; then
    (cd samples/03-node-typescript && { [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund --silent; })
fi
if command -v cargo >/dev/null 2>&1; then
    for crate in samples/01-rust samples/08-sockets/rust; do (cd "$crate" && cargo fetch --quiet --locked); done
    # The watcher that people drive procwatch from; a debug build takes half the time.
    [ -x .tools/cargo/bin/cargo-watch ] || command -v cargo-watch >/dev/null 2>&1 ||
        cargo install --quiet --locked --debug --root .tools/cargo --version 8.5.3 cargo-watch
fi
exit 0
