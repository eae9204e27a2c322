// Writes a message as a command of `nats`, or as Python with nats-py, that does the same. Pasted one after another, the
// copies upload the recording again, publish a task with an id of its own, TASK_ID, and read what is known of that task.
const SECRET = /password|token|secret|authorization|signature|credential/i;
const MASK = "•••";
const WAIT_S = 10; // for a reply, and between events: a task reports more often

// A copy without secrets: of fields and headers by their names, and of logins and signatures in addresses.
export function masked(value, name = "") {
  if (SECRET.test(name) && value !== null && typeof value !== "object") return MASK;
  if (typeof value === "string") return value.replace(/(\w+:\/\/)[^\s/@"]+@/g, `$1${MASK}@`).replace(/([?&][^=&\s"]*(?:signature|token|credential)[^=&\s"]*=)[^&\s"]+/gi, `$1${MASK}`);
  if (Array.isArray(value)) return value.map((item) => masked(item, name));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, masked(item, key)]));
}

const ID = "\ue000"; // stands for the id of the task in texts that are still to be quoted

const isTask = ({ how, subject }) => how === "publish" && subject.startsWith("tasks.");
const plain = (text) => (/^[\w./:=@,+-]+$/.test(text) ? text : `'${text.replace(/\p{Cc}/gu, "?").replaceAll("'", `'\\''`)}'`); // a terminal obeys control characters
const isId = (text) => /^[\w-]{1,64}$/.test(text ?? ""); // whatever else a message names becomes no variable of a shell
const escaped = (character) => (character.length > 1 ? `\\U${character.codePointAt(0).toString(16).padStart(8, "0")}` : `\\u${character.codePointAt(0).toString(16).padStart(4, "0")}`);
const literal = (text) => JSON.stringify(text).replace(/[\u{7f}-\u{10ffff}]/gu, escaped);

// A message without secrets, and with ID in place of the id of its task.
function prepared({ how, subject, headers = {}, body, request, taskId }) {
  const marked = (value) => {
    if (typeof value === "string") return value === taskId && isId(taskId) ? ID : value;
    if (Array.isArray(value)) return value.map(marked);
    return value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([key, item]) => [key, marked(item)])) : value;
  };
  return {
    subject: isId(taskId) && subject.endsWith(`.${taskId}`) ? subject.slice(0, -taskId.length) + ID : subject,
    headers: marked(masked(headers)),
    body: marked(masked(how === "reply" ? request : body)),
  };
}

export function natsCommand(message) {
  const { how, stream, object, taskId } = message;
  if (object) return objectCommand(how, object);
  const id = isTask(message) ? '"$TASK_ID"' : `"\${TASK_ID:-${isId(taskId) ? taskId : ""}}"`;
  const quoted = (text) => text.split(ID).map((part) => part && plain(part)).join(id);
  const { subject, headers, body } = prepared(message);
  switch (how) {
    case "request":
    case "reply":
      return `nats req --raw ${quoted(subject)} ${quoted(JSON.stringify(body))}`;
    case "publish": {
      if (message.isAudio) return `${nextFrame}nats pub --jetstream --force-stdin -H Nats-Msg-Id:${id}-"$FRAME" ${quoted(subject)} <frame.opus`;
      const given = Object.entries(headers).map(([name, value]) => `-H ${quoted(`${name}:${value}`)}`);
      const command = ["nats pub --jetstream", ...given, quoted(subject), quoted(JSON.stringify(body))].join(" ");
      return isTask(message) ? `export TASK_ID=task-$(date +%s)\n${command}` : command;
    }
    default:
      return `nats sub ${stream ? `--stream ${plain(stream)} --all --wait ${WAIT_S}s ` : ""}--raw ${quoted(subject)}`;
  }
}

// The `nats` command uploads or reads an object with all its chunks and its metadata.
function objectCommand(how, { bucket, name, file = "", isChunk }) {
  const object = `${plain(bucket)} ${plain(name)}`;
  if (!isChunk) return `nats object info ${object}`;
  if (how !== "publish") return `nats object get ${object} --force`;
  return `nats object put ${plain(bucket)} ${plain(file.replace(/^-/, "./-"))} --name ${plain(name)} --force`;
}

export function pythonCode(message) {
  const { taskId } = message;
  const lines = message.object ? objectLines(message.how, message.object) : messageLines(message);
  const uses = (name) => lines.some((line) => line.includes(name));
  const id = isTask(message) ? "str(uuid.uuid4())" : `os.environ.get("TASK_ID", ${literal(taskId ?? "")})`;
  return [
    "import asyncio", ...(uses("json.") ? ["import json"] : []), "import os", ...(isTask(message) ? ["import uuid"] : []), "", "import nats", "",
    ...(uses("TASK_ID") ? [`TASK_ID = ${id}`, ""] : []), "",
    "async def main() -> None:",
    '    nc = await nats.connect(os.environ.get("NATS_URL", "nats://localhost:4222"))',
    ...lines.map((line) => `    ${line}`),
    "    await nc.close()", "", "", "asyncio.run(main())", "",
  ].join("\n");
}

// A value as Python writes it.
function python(value) {
  if (typeof value === "string") return value.split(ID).flatMap((part, at) => [...(at ? ["TASK_ID"] : []), ...(part ? [literal(part)] : [])]).join(" + ") || '""';
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (value && typeof value === "object") return `{${Object.entries(value).map(([key, item]) => `${literal(key)}: ${python(item)}`).join(", ")}}`;
  return { null: "None", true: "True", false: "False" }[value] ?? String(value);
}

function messageLines(message) {
  const { how, stream } = message;
  const { subject, headers, body } = prepared(message);
  const [where, content] = [python(subject), `json.dumps(${python(body)}).encode()`];
  switch (how) {
    case "request":
    case "reply":
      return [`reply = await nc.request(${where}, ${content}, timeout=${WAIT_S})`, "print(reply.data.decode())"];
    case "publish":
      if (message.isAudio) return audioLines(where);
      return [
        `await nc.jetstream().publish(${where}, ${content}, headers=${python(headers)})`,
        ...(isTask(message) ? ['print(f"export TASK_ID={TASK_ID}  # then the other programs read this task")'] : []),
      ];
    default:
      return [
        `subscription = await nc.${stream ? `jetstream().subscribe(${where}, stream=${literal(stream)}, ordered_consumer=True)` : `subscribe(${where})`}`,
        "try:", "    while True:",
        `        message = await subscription.next_msg(timeout=${WAIT_S})`, "        print(message.data.decode())",
        "except nats.errors.TimeoutError:", `    pass  # nothing came for ${WAIT_S} s`,
      ];
  }
}

// Frames of live audio are numbered from 0 on.
const nextFrame = "FRAME=$((${FRAME:--1} + 1))\n";
const audioLines = (where) => [
  'for number, path in enumerate(["frame.opus"]):  # up to a second of audio in each',
  '    with open(path, "rb") as frame:',
  `        await nc.jetstream().publish(${where}, frame.read(), headers={"Nats-Msg-Id": f"{TASK_ID}-{number}"})`,
];

function objectLines(how, { bucket, name, file = "", isChunk }) {
  const lines = [`bucket = await nc.jetstream().object_store(${literal(bucket)})`];
  if (!isChunk) return [...lines, `print(await bucket.get_info(${literal(name)}))`];
  if (how !== "publish") return [...lines, `with open(${literal(name)}, "wb") as file:`, `    await bucket.get(${literal(name)}, writeinto=file)`];
  return [...lines, `with open(${literal(file)}, "rb") as file:`, `    await bucket.put(${literal(name)}, file)`];
}
