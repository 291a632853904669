"""An HTTP server on 127.0.0.1:$PORT."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from shop import total


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"tea and cake: {total(['tea', 'cake'])} (process {os.getpid()})\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing of each request."""


if __name__ == "__main__":
    # The server sets SO_REUSEADDR, so that a restart gets the port at once.
    with ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler) as server:
        server.serve_forever()
