"""Say a greeting, which was read when this process started, and which process says it."""

import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

NAME = sys.argv[1]
GREETING = Path(sys.argv[2]).read_text(encoding="utf-8").strip()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{GREETING} from {NAME} (process {os.getpid()})\n".encode())


HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
