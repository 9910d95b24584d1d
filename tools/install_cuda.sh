#!/bin/sh
# Installs what the CUDA preset needs beside the Debian packages: nvcc and cuBLAS of CUDA 13, from NVIDIA's packages on
# PyPI into build/cuda-toolkit, unless nvcc is on the PATH or in /usr/local/cuda.  A GPU needs its driver (580 or newer).
set -eu
cd "$(dirname "$0")/.."
if command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ] || [ -x build/cuda-toolkit/nvcc-is-here ]; then exit 0; fi

#   nvidia-cuda-nvcc nvidia-nvvm nvidia-cuda-crt   the compiler
#   nvidia-cuda-runtime nvidia-cuda-cccl           headers and the static runtime
#   nvidia-cublas                                  large matrix products; loaded when the program runs
packages="nvidia-cuda-nvcc==13.0.* nvidia-nvvm==13.0.* nvidia-cuda-crt==13.0.* nvidia-cuda-runtime==13.0.*
  nvidia-cuda-cccl==13.0.* nvidia-cublas==13.*"
if ! python3 -m venv --help >/dev/null 2>&1 || ! python3 -c "import ensurepip" 2>/dev/null; then
  if [ "$(id -u)" = 0 ]; then as_root=""; else as_root="sudo"; fi
  DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
fi
echo "Installing CUDA 13 (550 MB) into build/cuda-toolkit"
python3 -m venv build/cuda-toolkit
# shellcheck disable=SC2086
build/cuda-toolkit/bin/pip install --quiet --disable-pip-version-check --no-deps $packages
root=$(echo build/cuda-toolkit/lib/python3*/site-packages/nvidia/cu13)
# Names that CMake looks for.
ln -sfn lib "$root/lib64"
ln -sfn libcudart.so.13 "$root/lib/libcudart.so"
ln -sfn "$PWD/$root/bin/nvcc" build/cuda-toolkit/nvcc-is-here
