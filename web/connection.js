// The page's connection to NATS: requests, publishes and subscriptions, each of which is reported to `onMessage`.
import { connect, objectIn } from "./live.js";
import { headers, jetstream } from "./nats.js";

const REPLY_TIMEOUTS_MS = [2000, 4000, 8000]; // a request is repeated: the worker that received it may be frozen or fail
const ACK_TIMEOUT_MS = 5000;
const BUSY_PAUSE_MS = 500;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// An error that the service has replied with; `code` is for programs, the message for people.
export class ServiceError extends Error {
  constructor({ code, err_code, message, description }) {
    super(message ?? description); // JetStream calls it description
    this.name = "ServiceError";
    this.code = err_code ?? code;
  }
}

// No worker has replied to a request.
class NoReplyError extends Error {
  name = "NoReplyError";
}

// Events: `connected` and `disconnected`; `served` and `unserved`, as workers begin and cease to reply with the list.
export class Connection extends EventTarget {
  isConnected = false;
  isServed = true;
  onMessage = () => {};

  // Connects, or throws; after that, a lost connection is restored.
  async open(settings) {
    await this.close();
    const opening = (this.opening = connect(settings));
    const nats = await opening;
    if (opening !== this.opening) return void nats.close(); // a newer attempt has replaced this one
    this.nats = nats;
    this.js = jetstream(this.nats, { checkAPI: false }); // a publisher has no permission for $JS.API.INFO
    this.#watch(this.nats);
    this.#set(true);
  }

  async close() {
    await this.nats?.close();
    this.#set(false);
  }

  // Resolves at once, or when the connection is restored.
  connected() {
    if (this.isConnected) return Promise.resolve();
    return new Promise((done) => this.addEventListener("connected", done, { once: true }));
  }

  // Returns the reply: parsed, if it is JSON, else its text. `object` is reported to `onMessage`, here and below: what
  // the message is part of, as objects.js describes it.
  async request(subject, body, { timeouts = REPLY_TIMEOUTS_MS, object } = {}) {
    let problem;
    for (const timeout of timeouts) {
      this.onMessage({ direction: "sent", how: "request", subject, body, object });
      try {
        const reply = await this.nats.request(subject, JSON.stringify(body), { timeout });
        const isText = reply.headers?.get("content-type").startsWith("text/");
        const content = isText ? reply.string() : reply.json();
        if (subject === "tasks.list") this.#setServed(true);
        this.onMessage({ direction: "received", how: "reply", subject, body: content, request: body, object });
        if (isText || !content.error?.code || content.state) return content; // a status has an error among other fields
        problem = new ServiceError(content.error);
        if (problem.code !== "internal") break;
        await pause(BUSY_PAUSE_MS);
      } catch (error) {
        problem = error;
        if (error.name !== "TimeoutError") break;
      }
    }
    const hasReplied = ![problem.name, problem.cause?.name].some((name) => ["NoResponders", "TimeoutError"].includes(name));
    if (hasReplied || subject.startsWith("$")) throw problem;
    if (subject === "tasks.list" && this.isConnected) this.#setServed(false);
    throw new NoReplyError();
  }

  // Publishes with JetStream; returns the acknowledgement. The id makes it safe to publish the same message again.
  async publish(subject, body, { id, more = {}, object } = {}) {
    const options = { msgID: id, timeout: ACK_TIMEOUT_MS, headers: headers() };
    for (const [name, value] of Object.entries(more)) options.headers.set(name, value);
    const shown = { ...more, ...(id ? { "Nats-Msg-Id": id } : {}) };
    this.onMessage({ direction: "sent", how: "publish", subject, headers: shown, body, object });
    return this.js.publish(subject, body instanceof Uint8Array ? body : JSON.stringify(body), options);
  }

  // Calls back with each message of a subject that arrives from now on; `stream` also stores these messages.
  subscribe(subject, stream, callback) {
    this.nats.subscribe(subject, {
      callback: (error, message) => {
        const body = error ? null : objectIn(message);
        if (!body) return;
        this.onMessage({ direction: "received", how: "subscribe", stream, subject: message.subject, headers: shownHeaders(message), body });
        callback(body);
      },
    });
  }

  // Calls back with each stored message of a subject from the first on, also after an outage; returns a function that stops it.
  async follow(stream, subject, callback) {
    const consumer = await this.js.consumers.get(stream, { filter_subjects: subject });
    const messages = await consumer.consume({ idle_heartbeat: 2000, expires: 10_000 });
    (async () => {
      for await (const message of messages) {
        const body = objectIn(message);
        if (!body) continue;
        this.onMessage({ direction: "received", how: "stream", stream, subject, headers: shownHeaders(message), body });
        callback(body);
      }
    })();
    return () => messages.stop();
  }

  // Returns the first stored message of a subject; undefined if there is none.
  async first(stream, subject) {
    const consumer = await this.js.consumers.get(stream, { filter_subjects: subject });
    try {
      const message = await consumer.next({ expires: 1000 }); // the shortest time that there is
      const body = message && objectIn(message);
      if (body) this.onMessage({ direction: "received", how: "stream", stream, subject, headers: shownHeaders(message), body });
      return body;
    } finally {
      await consumer.delete();
    }
  }

  async #watch(nats) {
    for await (const { type } of nats.status()) {
      if (nats === this.nats && (type === "disconnect" || type === "reconnect")) this.#set(type === "reconnect");
    }
  }

  #setServed(isServed) {
    if (this.isServed === isServed) return;
    this.isServed = isServed;
    this.dispatchEvent(new Event(isServed ? "served" : "unserved"));
  }

  #set(isConnected) {
    if (this.isConnected === isConnected) return;
    this.isConnected = isConnected;
    this.isServed = true; // until a request shows otherwise
    this.dispatchEvent(new Event(isConnected ? "connected" : "disconnected"));
  }
}

function shownHeaders({ headers: given }) {
  return Object.fromEntries((given?.keys() ?? []).map((name) => [name, given.get(name)]));
}
