// A proxy in front of a port of this machine, which a test breaks, restores and holds up.
import net from "node:net";

export async function proxy(port) {
  const sockets = new Set();
  const held = []; // functions that let a connection go on
  let [isThere, allowed] = [true, Infinity];
  const server = net.createServer((inside) => {
    if (!isThere) return inside.destroy();
    const outside = net.connect(port, "127.0.0.1");
    for (const [one, other] of [[inside, outside], [outside, inside]]) {
      sockets.add(one);
      one.on("error", () => other.destroy());
      one.on("close", () => sockets.delete(one) && other.destroy());
    }
    outside.pipe(inside);
    return forward(inside, outside).catch(() => {}); // the connection has ended
  });

  async function forward(inside, outside) {
    for await (const bytes of inside) {
      while (allowed <= 0) await new Promise((done) => held.push(done));
      if (outside.destroyed) return;
      allowed -= bytes.length;
      outside.write(bytes);
    }
  }

  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    address: `ws://127.0.0.1:${server.address().port}`,
    // Lets about this number of further bytes from the pages pass, and holds back the rest.
    allow(bytes) {
      allowed = bytes;
      for (const proceed of held.splice(0)) proceed();
    },
    break() {
      isThere = false;
      for (const socket of sockets) socket.destroy();
    },
    restore: () => (isThere = true),
    connections: () => sockets.size / 2,
    close: () => server.close(),
  };
}
