// A proxy in front of a port of this machine, which a test breaks, restores and slows down.
import net from "node:net";

export async function proxy(port) {
  const sockets = new Set();
  let [isThere, bytesPerSecond] = [true, Infinity];
  const server = net.createServer((inside) => {
    if (!isThere) return inside.destroy();
    const outside = net.connect(port, "127.0.0.1");
    for (const [one, other] of [[inside, outside], [outside, inside]]) {
      sockets.add(one);
      one.on("error", () => other.destroy());
      one.on("close", () => sockets.delete(one) && other.destroy());
    }
    outside.pipe(inside);
    inside.on("data", (bytes) => {
      outside.write(bytes);
      inside.pause();
      setTimeout(() => inside.resume(), (1000 * bytes.length) / bytesPerSecond);
    });
    return undefined;
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    address: `ws://127.0.0.1:${server.address().port}`,
    slow: (rate) => (bytesPerSecond = rate),
    break() {
      isThere = false;
      for (const socket of sockets) socket.destroy();
    },
    restore: () => (isThere = true),
    connections: () => sockets.size / 2,
    close: () => server.close(),
  };
}
