"""Options of the tests that talk to a running server."""


def pytest_addoption(parser):
    parser.addoption("--base-url", default="http://127.0.0.1:8000/v1", help="ends with /v1")
    parser.addoption("--model", default=None, help="default: the first one listed")
    parser.addoption("--api-key", default="none")
