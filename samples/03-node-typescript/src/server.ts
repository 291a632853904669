/** An HTTP server on 127.0.0.1:$PORT. */
import { createServer } from "node:http";

import { greeting } from "./greeting.js";

const port = Number(process.env.PORT);

const server = createServer((request, response) => {
  const known = request.url === "/" || request.url === "/health";
  response.writeHead(known ? 200 : 404, { "content-type": "text/plain" });
  response.end(known ? `${greeting("world")} (process ${process.pid})\n` : "not found\n");
});

// Node sets SO_REUSEADDR by itself, so that a restart gets the port at once.
server.listen(port, "127.0.0.1", () => console.log(`listening on 127.0.0.1:${port}`));
