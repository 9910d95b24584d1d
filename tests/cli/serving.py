"""A running `quire serve` for tests, and requests to it."""
import json
import subprocess
import threading
import time
import urllib.error
import urllib.request

from tiny_model import BINARY, free_port


class Serving:
    """Starts the server, waits until it is ready; kills it at the end if it still runs."""

    def __init__(self, *flags):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen([BINARY, "serve", *flags, "--port", str(self.port)],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.log = ""
        self.reader = threading.Thread(target=self._read_log)
        self.reader.start()

    def _read_log(self):
        for line in self.process.stderr:
            self.log += line

    def __enter__(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(self.url + "/ready", timeout=1):
                    return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.01)
        self.__exit__()
        raise AssertionError("quire serve did not become ready:\n" + self.log)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        self.process.stderr.close()

    def wait(self):
        """The exit status."""
        status = self.process.wait(timeout=60)
        self.reader.join()
        return status

    def post(self, path, body):
        """The answer, parsed; with "stream", an iterator over the chunks."""
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        response = urllib.request.urlopen(request, timeout=60)
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
