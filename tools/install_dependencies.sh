#!/bin/sh
# Installs from Debian's packages what building quire needs, and with --tests what its tests need too.
# Does nothing for packages that are there already.
set -eu

# To build:
#   clang-19 lld-19 libstdc++-12-dev  compiler, linker, standard library
#   cmake ninja-build                 build system
#   libboost1.81-dev                  Beast/Asio, the HTTP server
#   nlohmann-json3-dev                JSON of requests and configurations
#   libsimdjson-dev                   JSON of large files (tokenizer.json)
#   libcli11-dev                      command line
#   libspdlog-dev libfmt-dev          logs
#   prometheus-cpp-dev zlib1g-dev     metrics
#   libicu-dev                        Unicode of the tokenizers
#   libcurl4-openssl-dev              HTTP client of chat, complete and bench serve
packages="clang-19 lld-19 libstdc++-12-dev cmake ninja-build libboost1.81-dev nlohmann-json3-dev libsimdjson-dev
  libcli11-dev libspdlog-dev libfmt-dev prometheus-cpp-dev zlib1g-dev libicu-dev libcurl4-openssl-dev
  ca-certificates"
# To test:
#   libgtest-dev libgmock-dev         unit tests
#   libclang-rt-19-dev llvm-19        sanitizer runtimes and their symbolizer
#   python3-venv curl                 the openai client's tests, and the checks of the README
if [ "${1:-}" = "--tests" ]; then
  packages="$packages libgtest-dev libgmock-dev libclang-rt-19-dev llvm-19 python3-venv python3-dev curl"
fi

missing=""
for package in $packages; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
done
if [ -n "$missing" ]; then
  if [ "$(id -u)" = 0 ]; then as_root=""; else as_root="sudo"; fi
  echo "Installing:$missing"
  $as_root apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
