// A live task of Natscribe from a browser: publishes sound, and tells what becomes of it. The rules: docs/contract.md.
import { headers, jetstream, wsconnect } from "./nats.js";

const LONGEST_FRAME_S = 1;
const LARGEST_FRAME_BYTES = 256 * 1024;
const STORED_WITHIN_MS = 5000; // a frame without an acknowledgement is published again after this time
const ANSWERED_WITHIN_MS = [2000, 4000, 8000]; // a request for the result
const PAUSE_MS = 500;
const IDLE_S = 120; // NATS may be away for so long
const ENDS = ["completed", "failed", "cancelled"];

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// Connects now or fails; a connection that is lost later is made again, for as long as it takes.
export function connect({ server, user, password, inboxPrefix }) {
  const login = user ? { user, pass: password } : {};
  return wsconnect({ servers: server, ...login, inboxPrefix, timeout: 5000, reconnectTimeWait: 500, maxReconnectAttempts: -1, pingInterval: 5000 });
}

export class Live {
  // `tell` has a function for each kind of news: progress, segments, partial, connected, problem.
  constructor(connection, { streams = "transcription", ...task }, tell) {
    this.task = { task_id: crypto.randomUUID(), audio: { codec: "opus", sample_rate: 48000, channels: 1 }, idle_seconds: IDLE_S, ...task };
    this.waitingSeconds = 0; // of sound that is not stored yet
    this.hasEnded = false;
    this.connection = connection;
    this.streams = streams;
    this.tell = tell;
    this.js = jetstream(connection, { checkAPI: false }); // a publisher may not ask for $JS.API.INFO
    this.waiting = []; // sound, in its order
    this.changed = () => {};
    this.isConnected = true;
    this.lost = () => {};
    this.next = 0; // number of the next frame
  }

  // Subscribes, and then publishes the task: so nothing is missed.
  async begin() {
    const { task_id } = this.task;
    this.watch();
    this.connection.subscribe(`partials.${task_id}`, {
      callback: (error, message) => (error ? this.tell.problem(error) : this.tell.partial(message.json())),
    });
    const [segments, progress] = await Promise.all(["segments", "progress"].map((kind) => this.events(kind)));
    this.read(segments, (event) => this.tell.segments(event));
    this.read(progress, (event) => {
      this.hasEnded = ENDS.includes(event.state);
      this.tell.progress(event);
      if (this.hasEnded) for (const messages of [segments, progress]) messages.stop();
      this.changed();
    });
    await this.js.publish("tasks.live.normal", JSON.stringify(this.task), { msgID: task_id, timeout: STORED_WITHIN_MS });
    this.publishing = this.publishAll().catch((error) => this.tell.problem(error));
  }

  async watch() {
    for await (const { type } of this.connection.status()) {
      if (type !== "disconnect" && type !== "reconnect") continue;
      this.isConnected = type === "reconnect";
      if (!this.isConnected) this.lost(); // the acknowledgement that is waited for does not come
      this.tell.connected(this.isConnected);
    }
  }

  // The events of the task in their order, also those that came while NATS was away.
  async events(kind) {
    const consumer = await this.js.consumers.get(`${this.streams}_${kind}`, { filter_subjects: `${kind}.${this.task.task_id}` });
    return consumer.consume({ idle_heartbeat: 2000, expires: 10_000 });
  }

  async read(messages, take) {
    let last = 0;
    try {
      for await (const message of messages) {
        const event = message.json();
        if (event.sequence > last) take(event);
        last = Math.max(last, event.sequence);
      }
    } catch (error) {
      this.tell.problem(error);
    }
  }

  send(bytes, seconds) {
    this.waiting.push({ bytes, seconds });
    this.waitingSeconds += seconds;
    this.changed();
  }

  // Ends the sound, and waits until all of it is stored.
  async end() {
    this.isLast = true;
    this.changed();
    await this.publishing;
  }

  // Each frame waits until the one before is stored, so that their order in the stream is that of their numbers.
  async publishAll() {
    for (let isLast = false; !isLast && !this.hasEnded; ) {
      while (!this.waiting.length && !this.isLast && !this.hasEnded) await new Promise((done) => (this.changed = done));
      const { bytes, seconds } = this.join();
      isLast = Boolean(this.isLast && !this.waiting.length);
      await this.store(bytes, isLast);
      this.waitingSeconds = isLast ? 0 : this.waitingSeconds - seconds;
    }
  }

  // Takes the sound that waits, as far as one frame may hold it.
  join() {
    let [count, size, seconds] = [0, 0, 0];
    for (const part of this.waiting) {
      if (count && (seconds + part.seconds > LONGEST_FRAME_S + .01 || size + part.bytes.length > LARGEST_FRAME_BYTES)) break;
      [count, size, seconds] = [count + 1, size + part.bytes.length, seconds + part.seconds];
    }
    const bytes = new Uint8Array(size);
    let at = 0;
    for (const part of this.waiting.splice(0, count)) {
      bytes.set(part.bytes, at);
      at += part.bytes.length;
    }
    return { bytes, seconds };
  }

  // Publishes a frame again and again until it is stored; a second copy with its number does no harm.
  async store(bytes, isLast) {
    const options = { msgID: `${this.task.task_id}-${this.next}`, timeout: STORED_WITHIN_MS, headers: headers() };
    if (isLast) options.headers.set("Natscribe-End", "true");
    let [isSent, isRefused] = [false, false];
    while (!this.hasEnded) {
      if (this.connection.isClosed()) throw await this.connection.closed();
      if (this.isConnected) {
        const lost = new Promise((done) => (this.lost = done));
        const stored = this.js.publish(`live.audio.${this.task.task_id}`, bytes, options);
        const answer = await Promise.race([stored, lost]).catch((error) => error);
        if (answer?.stream) {
          if (answer.duplicate && !isSent) throw new Error("Another program sends sound of this task, too, and this sound is lost");
          this.next += 1;
          if (isRefused) this.tell.problem(null);
          return;
        }
        isSent = true;
        isRefused = Boolean(answer) && answer.name !== "TimeoutError";
        if (isRefused) this.tell.problem(answer);
      }
      await pause(PAUSE_MS);
    }
  }

  // The whole result as the service answers it; asked again, because the worker that got the request may be frozen,
  // or have a problem.
  async result() {
    const asked = JSON.stringify({ task_id: this.task.task_id });
    let problem = "No worker answers";
    for (const timeout of ANSWERED_WITHIN_MS) {
      try {
        const { error, ...found } = (await this.connection.request("tasks.result", asked, { timeout })).json();
        if (!error) return found;
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
