#!/bin/sh
# Installs what is missing, builds quire, and serves the bundled model (or what the arguments say):
#   tools/run.sh                      quire serve quire-demo
#   tools/run.sh chat                 quire chat quire-demo
#   tools/run.sh --gpu serve MODEL    the same from a build with the CUDA backend
set -eu
cd "$(dirname "$0")/.."
tools/install_dependencies.sh
preset=release
if [ "${1:-}" = "--gpu" ]; then
  shift
  preset=cuda
  tools/install_cuda.sh
fi
cmake --preset "$preset" -DQUIRE_TESTS=OFF >/dev/null
cmake --build --preset "$preset" --target quire
[ $# -gt 0 ] || set -- serve
exec "build/$preset/bin/quire" "$@"
