// The drawer with the messages of the selected task: what was sent and received, and how to do the same elsewhere.
import { masked, natsCommand, pythonCode } from "./commands.js";
import { byId, element, say } from "./dom.js";
import { size, t } from "./words.js";

const KEPT = 1000; // messages, of all tasks
const SHOWN = 200; // messages in the drawer
const SHOWN_CHARS = 20_000; // of one message
const OF_A_TASK = /^(?:progress|segments|results|partials|live\.audio)\.(.+)$/;

export class Inspector {
  #messages = [];
  #taskId = null;

  constructor() {
    byId("inspect").addEventListener("click", () => this.#toggle(byId("messages").hidden));
    byId("close-messages").addEventListener("click", () => this.#toggle(false));
    byId("messages").addEventListener("keydown", (event) => event.key === "Escape" && this.#toggle(false));
  }

  add(message) {
    const kept = { ...message, at: new Date(), taskId: taskIdOf(message) };
    if (kept.body instanceof Uint8Array) kept.body = new Uint8Array(0), kept.bytes = message.body.length;
    if (kept.body?.message?.data?.length > SHOWN_CHARS) kept.body = { ...kept.body, message: { ...kept.body.message, data: "…" } }; // a chunk
    this.#messages.push(kept);
    if (this.#messages.length > KEPT) this.#messages.shift();
    if (this.#isOf(kept) && !byId("messages").hidden) this.#append(kept);
  }

  // Shows the messages of a task; null: those of no task in particular.
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
    for (const message of this.#messages.filter((each) => this.#isOf(each)).slice(-SHOWN)) this.#append(message);
  }

  #append(message) {
    const { direction, how, subject, at, bytes } = message;
    const title = element("summary", {},
      element("span", { className: "arrow", title: t(direction), ariaLabel: t(direction) , role: "img" }, direction === "sent" ? "↑" : "↓"), " ",
      element("code", {}, subject), " ",
      element("small", {}, `${t(how)} ${at.toLocaleTimeString()}`));
    const details = element("details", {}, title);
    details.addEventListener("toggle", () => {
      if (!details.open || details.children.length > 1) return;
      const text = bytes ? t("{size} of audio", { size: size(bytes) }) : JSON.stringify(masked(message.body), null, 2);
      const given = Object.entries(masked(message.headers ?? {})).map(([name, value]) => `${name}: ${value}\n`).join("");
      details.append(
        element("pre", { tabIndex: 0, ariaLabel: subject }, (given ? `${given}\n` : "") + text.slice(0, SHOWN_CHARS) + (text.length > SHOWN_CHARS ? " …" : "")),
        element("p", { className: "actions" }, copyButton(t("Copy as nats command"), () => natsCommand(message)), copyButton(t("Copy as Python"), () => pythonCode(message))));
    });
    const list = byId("message-list");
    list.append(element("li", {}, details));
    if (list.children.length > SHOWN) list.firstChild.remove();
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

function taskIdOf({ subject, body, request }) {
  return OF_A_TASK.exec(subject)?.[1] ?? request?.task_id ?? body?.task_id ?? (body?.nuid ?? subject).match(/[0-9a-f]{32}$/)?.[0].replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-") ?? null;
}
