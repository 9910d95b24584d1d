#!/bin/sh
# Installs what is missing, builds everything, and runs every test:
#   tools/test.sh                     release build: unit, simulation, golden, server, client and style tests
#   tools/test.sh asan tsan           the same tests under the named presets
set -eu
cd "$(dirname "$0")/.."
tools/install_dependencies.sh --tests

if [ ! -x build/venv/bin/pytest ]; then
  python3 -m venv build/venv
  build/venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
fi
[ $# -gt 0 ] || set -- release
for preset in "$@"; do
  cmake --preset "$preset" -DQUIRE_TESTS=ON >/dev/null
  cmake --build --preset "$preset"
  ctest --preset "$preset" -j "$(nproc)"
done
