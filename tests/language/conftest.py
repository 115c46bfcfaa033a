"""A loopback server that speaks the OpenAI protocol, and misbehaves where a test says so."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class ChatServer(ThreadingHTTPServer):
    """Answers with `reply`, after the answers in `script`: pairs of status and body, with headers if any.

    Attributes:
        requests: (path, authorization, JSON body) of each request.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply = ""
        self.script = []
        self.requests = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self._answer(None, {"data": [{"id": "small-model"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(body, {"choices": [{"message": {"role": "assistant", "content": self.server.reply}}]})

    def _answer(self, body, content):
        self.server.requests.append((self.path, self.headers.get("Authorization"), body))
        status, content, headers = self.server.script.pop(0) if self.server.script else (200, content, {})
        data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def chat_server():
    server = ChatServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()
