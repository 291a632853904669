// A web server that takes its socket from procwatch, and ends in order.
const http = require("node:http");

const greeting = "Hello";

const server = http.createServer((request, response) => {
  response.setHeader("Content-Type", "text/plain");
  response.end(`${greeting}, world (process ${process.pid})\n`);
});

// Descriptor 3 is the first socket of `listen`.
server.listen({ fd: 3 });

// What has been begun is answered; idle connections are closed by close() itself from Node 19 on.
process.on("SIGTERM", () => {
  server.close();
  server.closeIdleConnections();
});
