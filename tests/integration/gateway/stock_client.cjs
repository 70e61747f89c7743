// A page with the stock client, told by lines on stdin what to do; tells by lines of JSON on stdout what it hears.
// node stock_client.cjs <folder of node_modules> <url with namespace> <token>
const { createRequire } = require("node:module");
const readline = require("node:readline");

const [folder, url, token] = process.argv.slice(2);
const { io } = createRequire(`${folder}/`)("socket.io-client");
const say = (...words) => process.stdout.write(`${JSON.stringify(words)}\n`);

const socket = io(url, { transports: ["websocket"], auth: { token }, reconnectionDelay: 10, reconnectionDelayMax: 50 });
socket.on("connect", () => say("connect", socket.recovered));
socket.on("disconnect", (reason) => say("disconnect", reason));
socket.onAny((name, body) => say(name, body));

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  if (line === "cut") {
    // As when the network goes: nothing is said to the server, and the client stays away until it is told to return.
    socket.io.reconnection(false);
    socket.io.engine.transport.ws._socket.destroy();
  }
  if (line === "return") socket.connect();
  if (line === "end") process.exit(0);
});
