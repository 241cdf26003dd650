"""The webhook, over loopback: what is posted arrives, and what fails is told."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from isoflop import InputError
from isoflop.monitoring import check_url, post


@pytest.fixture
def server():
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, self.headers["Content-Type"], json.loads(body)))
            self.send_response(500 if self.path == "/broken" else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    made = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}", received
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_verdict_arrives_as_json(server):
    url, received = server
    assert post(f"{url}/hook", {"state": "off_law", "final": 2.5}) == ""
    assert received == [("/hook", "application/json", {"state": "off_law", "final": 2.5})]


def test_an_answer_that_is_an_error_is_told(server):
    url, _ = server
    assert post(f"{url}/broken", {}) == "the webhook answered 500"


def test_nobody_there_is_told(server):
    url, _ = server
    port = int(url.rsplit(":", 1)[1])
    assert "could not be reached" in post(f"http://127.0.0.1:{port % 60000 + 1}/", {})


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "http://", "hook", ""])
def test_only_http_addresses_are_taken(url):
    with pytest.raises(InputError, match="webhook"):
        check_url(url)
