#!/usr/bin/env python3
"""Runs test_openai_client.py against a server that this script starts, and stops with SIGTERM:

    run_client_tests.py PYTHON COMMAND...

{port} in COMMAND becomes a free port, {adapters} a folder with two random adapters for quire-demo.

PYTHON is one with openai and pytest; without them the exit status is 77 ("skipped" for CTest).
"""
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "cli"))
from tiny_adapter import write_adapter

DEMO_MODEL = HERE.parent.parent / "models" / "quire-demo"
SKIPPED = 77
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def has_packages(python):
    try:
        return subprocess.run([python, "-c", "import openai, pytest"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def wait_until_ready(server, url):
    deadline = time.monotonic() + START_TIMEOUT_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url + "/ready", timeout=1):
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    return False


def stop(server):
    """True if the server ends by itself, with status 0, when asked to."""
    server.send_signal(signal.SIGTERM)
    try:
        status = server.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
        status = "none in time"
    if status != 0:
        print(f"the server's exit status after SIGTERM is {status}")
    return status == 0


def main(python, *command):
    if not has_packages(python):
        print(f"skipped: {python} has no openai and pytest; tools/test.sh makes it from tests/requirements.txt")
        return SKIPPED
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as adapters:
        if "{adapters}" in command:
            for seed, name in enumerate(("first", "second")):
                write_adapter(pathlib.Path(adapters) / name, DEMO_MODEL, seed, deviation=0.2)
        words = [word.replace("{port}", port).replace("{adapters}", adapters) for word in command]
        return run_tests(python, words, url)


def run_tests(python, command, url):
    with subprocess.Popen(command) as server:
        ready = wait_until_ready(server, url)
        tests = subprocess.run([python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--base-url", url + "/v1",
                                HERE / "test_openai_client.py"], check=False).returncode if ready else 1
        stopped = stop(server)
    return 0 if tests == 0 and stopped else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
