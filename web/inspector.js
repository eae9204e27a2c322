// The drawer with the messages of the selected task, the newest first: what was sent and received, and how to do the
// same elsewhere. Requests that are repeated are one row, and so are the chunks of a recording and live audio.
import { masked, natsCommand, pythonCode } from "./commands.js";
import { byId, element, say, setText } from "./dom.js";
import { locale, size, t } from "./words.js";

const KEPT = 1000; // messages, of all tasks
const SHOWN = 200; // messages in the drawer
const SHOWN_CHARS = 20_000; // of one message
const OF_A_TASK = /^(?:progress|segments|results|partials|live\.audio)\.(.+)$/;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/;

export class Inspector {
  #messages = new Map(); // by key, the newest last
  #rows = new Map(); // by key: what the drawer shows
  #taskId = null;
  #number = 0; // of messages that are not repeated

  constructor() {
    byId("inspect").addEventListener("click", () => this.#toggle(byId("messages").hidden));
    byId("close-messages").addEventListener("click", () => this.#toggle(false));
    byId("messages").addEventListener("keydown", (event) => event.key === "Escape" && this.#toggle(false));
  }

  add(message) {
    const key = keyOf(message) ?? ++this.#number;
    const { count, bytes } = this.#messages.get(key) ?? { count: 0, bytes: 0 };
    const kept = { ...message, at: new Date(), taskId: taskIdOf(message), count: count + 1, bytes };
    if (kept.object?.isChunk || kept.isAudio) kept.bytes += withoutContent(kept);
    this.#messages.delete(key);
    this.#messages.set(key, kept);
    if (this.#messages.size > KEPT) this.#messages.delete(this.#messages.keys().next().value);
    if (this.#isOf(kept) && !byId("messages").hidden) this.#show(key, kept);
  }

  // Shows the messages of a task; null: those of all tasks.
  select(taskId) {
    if (this.#taskId === taskId) return;
    this.#taskId = taskId;
    if (!byId("messages").hidden) this.#draw();
  }

  #isOf({ taskId }) {
    return this.#taskId === null || taskId === this.#taskId;
  }

  #toggle(isOpen) {
    byId("messages").hidden = !isOpen;
    byId("inspect").setAttribute("aria-expanded", isOpen);
    document.body.classList.toggle("inspecting", isOpen);
    if (isOpen) this.#draw();
    byId(isOpen ? "close-messages" : "inspect").focus();
  }

  #draw() {
    byId("message-list").replaceChildren();
    this.#rows.clear();
    const shown = [...this.#messages].filter(([, message]) => this.#isOf(message)).slice(-SHOWN);
    for (const [key, message] of shown) this.#show(key, message);
  }

  // Shows a message at the top; a row that is being read stays where it is.
  #show(key, message) {
    const list = byId("message-list");
    const known = this.#rows.get(key);
    const row = known ?? new Row();
    row.message = message;
    if (!known || !row.isRead) list.prepend(row.item);
    this.#rows.set(key, row);
    if (list.children.length <= SHOWN) return;
    list.lastChild.remove();
    for (const [other, { item }] of this.#rows) if (!item.isConnected) this.#rows.delete(other);
  }
}

// A message in the drawer; its content is written when somebody opens it.
class Row {
  #message;
  #facts = element("small");
  #summary = element("summary");
  #details = element("details", {}, this.#summary);
  item = element("li", {}, this.#details);

  constructor() {
    this.#details.addEventListener("toggle", () => this.#details.open && this.#fill());
  }

  set message(message) {
    const isNew = !this.#message;
    this.#message = message;
    const { direction, how, subject, at, count } = message;
    setText(this.#facts, [t(how), count > 1 ? `×\u202f${count}` : "", at.toLocaleTimeString(locale)].filter(Boolean).join(" "));
    if (!isNew) return;
    const arrow = element("span", { className: "arrow", title: t(direction), ariaLabel: t(direction), role: "img" }, direction === "sent" ? "↑" : "↓");
    this.#summary.append(arrow, " ", element("code", {}, subject), " ", this.#facts);
  }

  get isRead() {
    return this.#details.open || this.item.contains(document.activeElement);
  }

  #fill() {
    const { subject, headers = {}, body, bytes } = this.#message;
    const given = Object.entries(masked(headers)).map(([name, value]) => `${name}: ${value}\n`).join("");
    const content = body instanceof Uint8Array ? t("{size} of audio", { size: size(bytes) }) : JSON.stringify(masked(body), null, 2);
    const text = (given ? `${given}\n` : "") + content.slice(0, SHOWN_CHARS) + (content.length > SHOWN_CHARS ? " …" : "");
    this.#details.replaceChildren(this.#summary,
      element("pre", { tabIndex: 0, ariaLabel: subject }, text),
      element("p", { className: "actions" }, copyButton(t("Copy as nats command"), () => natsCommand(this.#message)), copyButton(t("Copy as Python"), () => pythonCode(this.#message))));
  }
}

function copyButton(label, write) {
  const button = element("button", { type: "button" }, label);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(write());
    say(t("Copied"));
  });
  return button;
}

// What messages that are one row have in common; null: the message has a row of its own.
function keyOf({ direction, how, subject, body, request, object, isAudio }) {
  if (isAudio) return subject;
  if (object?.isChunk) return `${direction} ${how} ${object.bucket}/${object.name}`;
  return ["request", "reply"].includes(how) ? `${direction} ${subject} ${JSON.stringify(request ?? body)}` : null;
}

// Drops the audio of a chunk, and returns how many bytes of it the message had.
function withoutContent(message) {
  const { body } = message;
  if (body instanceof Uint8Array) {
    message.body = new Uint8Array(0);
    return body.length;
  }
  if (body?.message?.data) message.body = { ...body, message: { ...body.message, data: "…" } };
  return 0;
}

function taskIdOf({ subject, body, request, object }) {
  return OF_A_TASK.exec(subject)?.[1] ?? request?.task_id ?? body?.task_id ?? object?.name.match(UUID)?.[0] ?? null;
}
