#!/bin/sh
# Installs what is missing, builds quire, and serves the bundled model (or what the arguments say):
#   tools/run.sh                      quire serve quire-demo
#   tools/run.sh chat                 quire chat quire-demo
set -eu
cd "$(dirname "$0")/.."
tools/install_dependencies.sh
cmake --preset release -DQUIRE_TESTS=OFF >/dev/null
cmake --build --preset release --target quire
[ $# -gt 0 ] || set -- serve
exec build/release/bin/quire "$@"
