"""A running `quire serve` for tests, and requests to it."""
import json
import re
import subprocess
import threading
import time
import urllib.request

from tiny_model import BINARY, TIMEOUT_S


class Serving:
    """Starts the server on a free port, waits until it is ready; kills it at the end if it still runs."""

    def __init__(self, *flags):
        self.process = subprocess.Popen([BINARY, "serve", *flags, "--port", "0"], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)
        self.log = ""
        self.reader = threading.Thread(target=self._read_log)
        self.reader.start()
        self.port = 0

    def _read_log(self):
        for line in self.process.stderr:
            self.log += line

    def __enter__(self):
        try:
            self.port = int(re.search(r"listening on http://.*:(\d+)\n", self.log_with("listening on"))[1])
            with urllib.request.urlopen(self.url + "/ready", timeout=60):
                return self
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        self.process.stderr.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def log_with(self, *parts):
        """The log, as soon as it has all parts: what the server has written may still be on its way here."""
        deadline = time.monotonic() + 60
        while True:
            is_last_look = time.monotonic() > deadline or not self.reader.is_alive()
            if all(re.search(re.escape(part) + ".*\n", self.log) for part in parts):
                return self.log
            if is_last_look:
                raise AssertionError(f"the log lacks one of {parts}:\n{self.log}")
            time.sleep(0.01)

    def wait(self):
        """The exit status."""
        status = self.process.wait(timeout=TIMEOUT_S)
        self.reader.join()
        return status

    def post(self, path, body):
        """The answer, parsed; with "stream", an iterator over the chunks."""
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
        if body.get("stream"):
            return self._chunks(response)
        with response:
            return json.load(response)

    @staticmethod
    def _chunks(response):
        with response:
            for line in response:
                if line.startswith(b"data: {"):
                    yield json.loads(line[6:])
                elif line == b"data: [DONE]\n":
                    return
        raise AssertionError("the stream ended without [DONE]")

    def metrics(self):
        """Values by name, labels left out; the last of several series counts."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=10) as response:
            lines = [line.decode() for line in response if not line.startswith(b"#")]
        return {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in lines}
