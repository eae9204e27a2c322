// Uploads recordings, and publishes a task for each. What was begun continues after a lost connection; after a reload
// it continues when the same file is chosen again.
import { Bucket } from "./objects.js";
import { problem } from "./problems.js";
import { t } from "./words.js";

const AT_ONCE = 2; // uploads
const DURATION_WITHIN_MS = 2000;
const STORED = "natscribe.uploads";

const identity = ({ name, size, lastModified }) => `${name}/${size}/${lastModified}`;

export class Uploads {
  files = new Map(); // recordings by task id, as long as the page is open
  #waiting = [];
  #running = new Map(); // abort controllers by task id

  constructor(tasks, { bucket = "audio", maxBytes = Infinity }) {
    this.tasks = tasks;
    this.maxBytes = maxBytes;
    this.bucket = new Bucket(tasks.connection, bucket);
    this.#showInterrupted();
  }

  // Uploads of this page, of other tabs and of earlier visits.
  get #unfinished() {
    return JSON.parse(localStorage.getItem(STORED) ?? "[]");
  }

  // An upload that no tab does any more was interrupted.
  async #showInterrupted() {
    const { held } = await navigator.locks.query();
    const running = new Set(held.map(({ name }) => name));
    for (const { id, name, at } of this.#unfinished) {
      if (!running.has(id) && !this.files.has(id)) this.#show(id, name, at, { state: "interrupted" });
    }
  }

  get isBusy() {
    return this.#running.size + this.#waiting.length > 0;
  }

  // Returns the id of the task of this file.
  add(file, options) {
    const known = this.#unfinished.find((upload) => upload.identity === identity(file) && !this.#running.has(upload.id));
    const id = crypto.randomUUID();
    const upload = known ?? { id, nuid: id.replaceAll("-", ""), identity: identity(file), name: file.name, at: new Date().toISOString(), options };
    this.files.set(upload.id, file);
    this.#show(upload.id, upload.name, upload.at, { state: "uploading", sent: 0, size: file.size });
    if (file.size === 0) this.#fail(upload, t("The file is empty: choose another one."));
    else if (file.size > this.maxBytes) this.#fail(upload, t("The file is larger than the service allows: split it, or convert it to Opus or MP3."));
    else {
      if (!known) this.#remember([...this.#unfinished, upload]);
      this.#waiting.push(upload);
      this.#next();
    }
    return upload.id;
  }

  // Continues an upload that failed, or publishes its task again.
  retry(id) {
    const upload = this.#unfinished.find((each) => each.id === id);
    const file = this.files.get(id);
    if (upload && file) this.add(file, upload.options);
  }

  canRetry(id) {
    return this.files.has(id) && this.#unfinished.some((upload) => upload.id === id);
  }

  // Ends an upload, and removes what was stored of it.
  async cancel(id) {
    const upload = this.#unfinished.find((each) => each.id === id);
    this.#running.get(id)?.abort();
    this.#waiting = this.#waiting.filter((waiting) => waiting.id !== id);
    this.#forget(id);
    this.tasks.remove(id);
    if (upload) await this.bucket.discard(upload.nuid).catch(() => {}); // it expires then
  }

  #next() {
    while (this.#running.size < AT_ONCE && this.#waiting.length) {
      const upload = this.#waiting.shift();
      const controller = new AbortController();
      this.#running.set(upload.id, controller);
      navigator.locks.request(upload.id, () => this.#run(upload, controller));
    }
  }

  async #run(upload, controller) {
    const { id, nuid, name, options } = upload;
    const file = this.files.get(id);
    const audio_file_id = `${id}-${name.replace(/[^\p{L}\p{N}_.-]+/gu, "_").slice(-80)}`;
    try {
      const [seconds] = await Promise.all([
        duration(file),
        this.bucket.put(file, audio_file_id, nuid, (sent) => this.tasks.change(id, { sent }), controller.signal),
      ]);
      const { priority, ...fields } = options;
      await this.#publish({ ...fields, task_id: id, audio_file_id, user_id: this.tasks.userId }, { seconds, priority }, controller.signal);
      this.#forget(id);
      this.tasks.merge({ task_id: id, audio_file_id, state: "queued", progress: 0, duration_seconds: seconds, created_at: new Date().toISOString() }, false);
    } catch (error) {
      if (!controller.signal.aborted) this.#fail(upload, problem(error, this.tasks.connection.server));
    } finally {
      this.#running.delete(id);
      this.#next();
    }
  }

  // The id makes it safe to publish the task again when no acknowledgement comes.
  async #publish(task, options, signal) {
    while (true) {
      signal.throwIfAborted();
      await this.tasks.connection.connected();
      try {
        return await this.tasks.publish(task, options);
      } catch (error) {
        if (error.name !== "TimeoutError") throw error;
      }
    }
  }

  #show(id, name, at, changes) {
    this.tasks.change(id, { audio_file_id: `${id}-${name}`, created_at: at, isLocal: true, error: null, ...changes });
  }

  #fail({ id }, message) {
    this.tasks.change(id, { state: "unsent", error: { message } });
  }

  #forget(id) {
    this.#remember(this.#unfinished.filter((upload) => upload.id !== id));
  }

  #remember(unfinished) {
    localStorage.setItem(STORED, JSON.stringify(unfinished));
  }
}

// The duration of a recording in seconds, if the browser can read it.
async function duration(file) {
  const audio = new Audio();
  audio.preload = "metadata";
  audio.src = URL.createObjectURL(file);
  await new Promise((done) => {
    audio.onloadedmetadata = audio.onerror = done;
    setTimeout(done, DURATION_WITHIN_MS);
  });
  const seconds = audio.duration;
  URL.revokeObjectURL(audio.src);
  return Number.isFinite(seconds) && seconds > 0 ? seconds : undefined;
}
