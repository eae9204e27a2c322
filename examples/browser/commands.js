// Writes a message as a command of `nats`, or as Python with nats-py, that does the same.
const SECRET = /password|token|secret|authorization|signature|credential/i;
const MASK = "•••";

// A copy without secrets: of fields and headers by their names, and of logins and signatures in addresses.
export function masked(value, name = "") {
  if (SECRET.test(name) && value !== null && typeof value !== "object") return MASK;
  if (typeof value === "string") return value.replace(/(\w+:\/\/)[^\s/@"]+@/g, `$1${MASK}@`).replace(/([?&][^=&\s"]*(?:signature|token|credential)[^=&\s"]*=)[^&\s"]+/gi, `$1${MASK}`);
  if (Array.isArray(value)) return value.map((item) => masked(item, name));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, masked(item, key)]));
}

const quoted = (text) => (/^[\w./:=@,+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);
const escaped = (character) => (character.codePointAt(0) > 0xffff ? `\\U${hex(character, 8)}` : `\\u${hex(character, 4)}`);
const hex = (character, digits) => character.codePointAt(0).toString(16).padStart(digits, "0");
const python = (text) => JSON.stringify(text).replace(/[\u{7f}-\u{10ffff}]/gu, escaped);
const isChunk = ({ body }) => body instanceof Uint8Array;
const json = (message) => JSON.stringify(masked(message.body));

export function natsCommand(message) {
  const { how, subject, stream, headers = {} } = message;
  if (isChunk(message)) return "nats object put audio RECORDING";
  switch (how) {
    case "request":
      return `nats req --raw ${quoted(subject)} ${quoted(json(message))}`;
    case "reply":
      return `nats req --raw ${quoted(subject)} ${quoted(JSON.stringify(masked(message.request)))}`;
    case "publish":
      return ["nats pub --jetstream", ...Object.entries(masked(headers)).map(([name, value]) => `-H ${quoted(`${name}:${value}`)}`), quoted(subject), quoted(json(message))].join(" ");
    default:
      return `nats sub ${stream ? `--stream ${quoted(stream)} --all ` : ""}--raw ${quoted(subject)}`;
  }
}

const PYTHON_START = `import asyncio, os, nats


async def main() -> None:
    nc = await nats.connect(os.environ.get("NATS_URL", "nats://localhost:4222"))
`;
const PYTHON_END = `    await nc.close()


asyncio.run(main())
`;

export function pythonCode(message) {
  const { how, subject, stream, headers = {} } = message;
  const lines = [];
  if (isChunk(message)) {
    lines.push(`bucket = await nc.jetstream().object_store("audio")`, `with open("RECORDING", "rb") as file:`, `    await bucket.put("RECORDING", file)`);
  } else if (how === "request" || how === "reply") {
    const body = how === "reply" ? JSON.stringify(masked(message.request)) : json(message);
    lines.push(`reply = await nc.request(${python(subject)}, ${python(body)}.encode(), timeout=5)`, `print(reply.data.decode())`);
  } else if (how === "publish") {
    const given = Object.entries(masked(headers)).map(([name, value]) => `${python(name)}: ${python(value)}`);
    lines.push(`headers = {${given.join(", ")}}`, `print(await nc.jetstream().publish(${python(subject)}, ${python(json(message))}.encode(), headers=headers))`);
  } else {
    const source = stream ? `await nc.jetstream().subscribe(${python(subject)}, stream=${python(stream)}, ordered_consumer=True)` : `await nc.subscribe(${python(subject)})`;
    lines.push(`subscription = ${source}`, `async for message in subscription.messages:`, `    print(message.data.decode())`);
  }
  return PYTHON_START + lines.map((line) => `    ${line}\n`).join("") + PYTHON_END;
}
