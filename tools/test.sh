#!/bin/sh
# Installs what is missing, builds everything, and runs every test:
#   tools/test.sh                     release build: unit, simulation, golden, server, client and style tests
#   tools/test.sh cuda                the same with the CUDA backend; its tests skip on a machine without a GPU
#   tools/test.sh asan tsan           the same under the named presets
#   tools/test.sh cuda -R '^Cuda'     arguments after a preset that begin with - go to ctest
set -eu
cd "$(dirname "$0")/.."
tools/install_dependencies.sh --tests

if ! cmp -s tests/requirements.txt build/venv/requirements.txt; then
  python3 -m venv build/venv
  build/venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
  cp tests/requirements.txt build/venv/
fi

presets=""
while [ $# -gt 0 ]; do
  case "$1" in
    -*) break ;;
  esac
  presets="$presets $1"
  shift
done
for preset in ${presets:-release}; do
  [ "$preset" != cuda ] || tools/install_cuda.sh
  cmake --preset "$preset" -DQUIRE_TESTS=ON >/dev/null
  cmake --build --preset "$preset"
  ctest --preset "$preset" -j "$(nproc)" "$@"
done
