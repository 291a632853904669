"""An HTTP server on 127.0.0.1:$PORT that answers with what the release has written."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

text = Path("greeting.txt").read_text().strip()
port = int(os.environ["PORT"])


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"{text} (port {port}, process {os.getpid()})\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing of each request."""


# The server sets SO_REUSEADDR, so that a restart gets the port at once.
with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
    print(f"listening on 127.0.0.1:{port}")
    server.serve_forever()
