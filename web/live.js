// A live transcription task from a browser: publishes audio and reports the events. The rules: docs/live.md.
import { headers, jetstream, wsconnect } from "./nats.js";

const MAX_FRAME_S = 1;
const MAX_FRAME_BYTES = 256 * 1024;
const ACK_TIMEOUT_MS = 5000; // a frame without an acknowledgement is published again after this time
const REPLY_TIMEOUTS_MS = [2000, 4000, 8000]; // of the requests for the result
const PAUSE_MS = 500;
const IDLE_S = 120; // limit of an outage of NATS
const FINAL_STATES = ["completed", "failed", "cancelled"];

// What a message of the service has; null: whoever sent it, it was not the service, and must not stop the page.
export function objectIn(message) {
  try {
    const body = message.json();
    return typeof body === "object" ? body : null;
  } catch {
    return null;
  }
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// Connects now or fails; a connection that is lost later is restored, without a time limit.
export function connect({ server, user, password, inboxPrefix }) {
  const login = user ? { user, pass: password } : {};
  return wsconnect({ servers: server, ...login, inboxPrefix, timeout: 5000, reconnectTimeWait: 500, maxReconnectAttempts: -1, pingInterval: 5000 });
}

export class Live {
  // `on` has a callback for each kind of event: progress, segments, partial, connected, problem; and if they are given,
  // `speakers` for what becomes known about the speakers later, and `message` for the task and its stored events.
  constructor(connection, { streams = "transcription", ...task }, on) {
    this.task = { task_id: crypto.randomUUID(), audio: { codec: "opus", sample_rate: 48000, channels: 1 }, idle_seconds: IDLE_S, ...task };
    this.pendingSeconds = 0; // of audio that is not stored yet
    this.hasEnded = false;
    this.connection = connection;
    this.streams = streams;
    this.on = on;
    this.js = jetstream(connection, { checkAPI: false }); // a publisher has no permission for $JS.API.INFO
    this.pending = []; // audio in order
    this.changed = () => {};
    this.isConnected = true;
    this.lost = () => {};
    this.next = 0; // number of the next frame
  }

  // Subscribes before publishing the task, so that no event is missed.
  async start() {
    const { task_id } = this.task;
    this.watch();
    for (const [kind, callback] of [["partials", this.on.partial], ["speakers", this.on.speakers]]) {
      if (!callback) continue;
      this.connection.subscribe(`${kind}.${task_id}`, {
        callback: (error, message) => {
          const event = error ? this.on.problem(error) : objectIn(message);
          if (event) callback(event);
        },
      });
    }
    const [segments, progress] = await Promise.all(["segments", "progress"].map((kind) => this.events(kind)));
    this.read("segments", segments, (event) => this.on.segments(event));
    this.read("progress", progress, (event) => {
      this.hasEnded = FINAL_STATES.includes(event.state);
      this.on.progress(event);
      if (this.hasEnded) for (const messages of [segments, progress]) messages.stop();
      this.changed();
    });
    await this.js.publish("tasks.live.normal", JSON.stringify(this.task), { msgID: task_id, timeout: ACK_TIMEOUT_MS });
    this.on.message?.({ direction: "sent", how: "publish", subject: "tasks.live.normal", headers: { "Nats-Msg-Id": task_id }, body: this.task });
    this.publishing = this.publishAll().catch((error) => this.on.problem(error));
  }

  async watch() {
    for await (const { type } of this.connection.status()) {
      if (type !== "disconnect" && type !== "reconnect") continue;
      this.isConnected = type === "reconnect";
      if (!this.isConnected) this.lost(); // the pending acknowledgement will not arrive
      this.on.connected(this.isConnected);
    }
  }

  // The events of the task in order, including those of an outage.
  async events(kind) {
    const consumer = await this.js.consumers.get(`${this.streams}_${kind}`, { filter_subjects: `${kind}.${this.task.task_id}` });
    return consumer.consume({ idle_heartbeat: 2000, expires: 10_000 });
  }

  async read(kind, messages, callback) {
    let last = 0;
    try {
      for await (const message of messages) {
        const event = objectIn(message);
        if (!event) continue;
        this.on.message?.({ direction: "received", how: "stream", stream: `${this.streams}_${kind}`, subject: message.subject, body: event });
        if (event.sequence > last) callback(event);
        last = Math.max(last, event.sequence);
      }
    } catch (error) {
      this.on.problem(error);
    }
  }

  send(bytes, seconds) {
    this.pending.push({ bytes, seconds });
    this.pendingSeconds += seconds;
    this.changed();
  }

  // Requests the text of the audio so far at once: `finalized` of a segments event will have the mark.
  finalize(mark = crypto.randomUUID()) {
    this.pending.push({ bytes: new Uint8Array(), seconds: 0, mark });
    this.changed();
  }

  // Ends the audio, and waits until all of it is stored.
  async end() {
    this.isLast = true;
    this.changed();
    await this.publishing;
  }

  // Publishes each frame when the previous one is stored, so that their order in the stream is that of their numbers.
  async publishAll() {
    for (let isLast = false; !isLast && !this.hasEnded; ) {
      while (!this.pending.length && !this.isLast && !this.hasEnded) await new Promise((done) => (this.changed = done));
      const { bytes, seconds, mark } = this.join();
      isLast = Boolean(this.isLast && !this.pending.length);
      await this.store(bytes, isLast, mark);
      this.pendingSeconds = isLast ? 0 : this.pendingSeconds - seconds;
    }
  }

  // Takes pending audio, up to a mark or the limits of one frame.
  join() {
    let [count, size, seconds, mark] = [0, 0, 0];
    for (const part of this.pending) {
      if (count && (seconds + part.seconds > MAX_FRAME_S + .01 || size + part.bytes.length > MAX_FRAME_BYTES)) break;
      [count, size, seconds, mark] = [count + 1, size + part.bytes.length, seconds + part.seconds, part.mark];
      if (mark) break;
    }
    const bytes = new Uint8Array(size);
    let offset = 0;
    for (const part of this.pending.splice(0, count)) {
      bytes.set(part.bytes, offset);
      offset += part.bytes.length;
    }
    return { bytes, seconds, mark };
  }

  // Publishes a frame repeatedly until it is stored; NATS drops a second copy with its number.
  async store(bytes, isLast, mark) {
    const options = { msgID: `${this.task.task_id}-${this.next}`, timeout: ACK_TIMEOUT_MS, headers: headers() };
    if (isLast) options.headers.set("Natscribe-End", "true");
    if (mark) options.headers.set("Natscribe-Finalize", mark);
    let [isSent, isRefused] = [false, false];
    while (!this.hasEnded) {
      if (this.connection.isClosed()) throw await this.connection.closed();
      if (this.isConnected) {
        this.on.message?.({ direction: "sent", how: "publish", subject: `live.audio.${this.task.task_id}`, headers: { "Nats-Msg-Id": options.msgID }, body: bytes, isAudio: true });
        const lost = new Promise((done) => (this.lost = done));
        const stored = this.js.publish(`live.audio.${this.task.task_id}`, bytes, options);
        const reply = await Promise.race([stored, lost]).catch((error) => error);
        if (reply?.stream) {
          if (reply.duplicate && !isSent) throw new Error("Another program sends audio of this task, too, and this audio is lost");
          this.next += 1;
          if (isRefused) this.on.problem(null);
          return;
        }
        isSent = true;
        isRefused = Boolean(reply) && reply.name !== "TimeoutError";
        if (isRefused) this.on.problem(reply);
      }
      await pause(PAUSE_MS);
    }
  }

  // Returns the whole result; repeats the request, because the worker that received it may be frozen or fail.
  async result() {
    const request = JSON.stringify({ task_id: this.task.task_id });
    let problem = "No worker answers";
    for (const timeout of REPLY_TIMEOUTS_MS) {
      try {
        const { error, ...result } = (await this.connection.request("tasks.result", request, { timeout })).json();
        if (!error) return result;
        problem = error.message;
        if (error.code !== "internal") break;
        await pause(PAUSE_MS);
      } catch (error) {
        if (error.name !== "TimeoutError") throw error;
      }
    }
    throw new Error(problem);
  }
}
