// Uploads recordings, and publishes a task for each. What was begun continues after a lost connection; after a reload
// it continues when the same file is chosen again.
import { remember } from "./known.js";
import { objectName, shownName } from "./names.js";
import { Bucket, UnreadableFileError } from "./objects.js";
import { isOutage, problem } from "./problems.js";
import { t } from "./words.js";

const AT_ONCE = 2; // uploads
const DURATION_WITHIN_MS = 2000;
const STORED = "natscribe.uploads";

const identity = ({ name, size, lastModified }) => `${name}/${size}/${lastModified}`;

export class Uploads {
  files = new Map(); // recordings by task id, as long as the page is open
  #controllers = new Map(); // abort controllers of uploads that have not ended, by task id
  #watched = new Set(); // ids of uploads of other tabs
  #outages = new Set(); // ids of uploads that failed because NATS or the service was away
  #active = 0;
  #waiting = []; // functions that let the next upload begin

  constructor(tasks, { bucket = "audio", maxBytes = Infinity }) {
    this.tasks = tasks;
    this.maxBytes = maxBytes;
    this.bucket = new Bucket(tasks.connection, bucket);
    tasks.tabs.addEventListener("message", ({ data }) => this.#controllers.get(data)?.abort());
    addEventListener("storage", ({ key }) => key === STORED && this.#showOthers());
    tasks.connection.addEventListener("served", () => this.#outages.forEach((id) => this.retry(id)));
    this.#showOthers();
  }

  // Uploads of this page, of other tabs and of earlier visits.
  get #unfinished() {
    return JSON.parse(localStorage.getItem(STORED) ?? "[]");
  }

  #unfinishedOf(id) {
    return this.#unfinished.find((upload) => upload.id === id);
  }

  // Shows the uploads of other tabs, which hold the locks of their uploads, and those that were interrupted.
  async #showOthers() {
    const { held } = await navigator.locks.query();
    const locked = new Set(held.map(({ name }) => name));
    for (const { id, name, at } of this.#unfinished) {
      if (this.files.has(id) || this.#watched.has(id)) continue;
      if (locked.has(id)) this.#watch(id, name, at);
      else this.#show(id, name, at, { state: "interrupted" });
    }
    // A lock may be released before this tab learns that the upload was complete.
    for (const { task_id, state } of this.tasks.byId.values()) {
      if (state === "interrupted" && !this.#unfinishedOf(task_id)) this.#showSent(task_id);
    }
  }

  // Shows an upload of another tab until it ends.
  async #watch(id, name, at) {
    this.#watched.add(id);
    this.#show(id, name, at, { state: "uploading", isElsewhere: true });
    await navigator.locks.request(id, { mode: "shared" }, () => {});
    this.#watched.delete(id);
    if (this.files.has(id) || !this.tasks.byId.get(id)?.isLocal) return;
    if (this.#unfinishedOf(id)) this.#show(id, name, at, { state: "interrupted" });
    else this.#showSent(id);
  }

  get isBusy() {
    return this.#controllers.size > 0;
  }

  // Returns the id of the task of this file.
  add(file, options) {
    const known = this.#unfinished.find((upload) => upload.identity === identity(file) && !this.#controllers.has(upload.id));
    const id = crypto.randomUUID();
    const upload = known ?? { id, nuid: id.replaceAll("-", ""), identity: identity(file), name: shownName(file.name), at: new Date().toISOString(), options };
    this.files.set(upload.id, file);
    this.#outages.delete(upload.id);
    this.#show(upload.id, upload.name, upload.at, { state: "uploading", sent: 0, size: file.size });
    if (file.size === 0) this.#fail(upload, t("The file is empty: choose another one."));
    else if (file.size > this.maxBytes) this.#fail(upload, t("The file is larger than the service allows: split it, or convert it to Opus or MP3."));
    else this.#begin(upload, known !== undefined);
    return upload.id;
  }

  // Continues an upload that failed, or publishes its task again.
  retry(id) {
    const upload = this.#unfinishedOf(id);
    const file = this.files.get(id);
    if (upload && file) this.add(file, upload.options);
  }

  canRetry(id) {
    return this.files.has(id) && this.#unfinishedOf(id) !== undefined;
  }

  // Ends an upload, also that of another tab, and removes what was stored of it.
  async cancel(id) {
    const upload = this.#unfinishedOf(id);
    this.#controllers.get(id)?.abort();
    this.#forget(id);
    this.tasks.forget(id);
    if (upload) await this.bucket.discard(upload.nuid).catch(() => {}); // it expires then
  }

  // Uploads a file when it is its turn. By the lock, other tabs know that the upload has not ended.
  async #begin(upload, isKnown) {
    const controller = new AbortController();
    const { signal } = controller;
    this.#controllers.set(upload.id, controller);
    await navigator.locks.request(upload.id, { signal }, async () => {
      if (isKnown && !this.#unfinishedOf(upload.id)) return this.#showSent(upload.id); // another tab has uploaded it
      const others = this.#unfinished.filter(({ id }) => id !== upload.id);
      this.#remember([...others, { ...upload, resumed: isKnown ? Date.now() : undefined }]); // a change, of which other tabs get an event
      await this.#turn();
      try {
        await this.#run(upload, signal);
      } finally {
        this.#active--;
        this.#waiting.shift()?.();
      }
    }).catch(() => {}); // it was cancelled while another tab uploaded it
    this.#controllers.delete(upload.id);
  }

  async #turn() {
    while (this.#active >= AT_ONCE) await new Promise((next) => this.#waiting.push(next));
    this.#active++;
  }

  async #run(upload, signal) {
    const { id, nuid, name, options } = upload;
    const file = this.files.get(id);
    const audio_file_id = `${id}-${objectName(name)}`;
    remember(audio_file_id, { file: name });
    try {
      await this.tasks.connection.connected();
      signal.throwIfAborted();
      const [seconds] = await Promise.all([
        duration(file),
        this.bucket.put(file, audio_file_id, nuid, (sent) => this.tasks.change(id, { sent }), signal),
      ]);
      const { priority, ...fields } = options;
      await this.#publish({ ...fields, task_id: id, audio_file_id, user_id: this.tasks.userId }, { seconds, priority }, signal);
      this.#forget(id);
      this.#showSent(id, { audio_file_id, duration_seconds: seconds });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof UnreadableFileError) this.#forget(id); // trying again would not help
      this.#fail(upload, problem(error, this.tasks.connection.server));
      if (isOutage(error)) this.#outages.add(id);
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
    this.tasks.change(id, { audio_file_id: `${id}-${name}`, created_at: at, isLocal: true, isElsewhere: false, error: null, ...changes });
  }

  // The service has the task now.
  #showSent(id, known = {}) {
    this.tasks.merge({ ...known, task_id: id, state: "queued", progress: 0, created_at: new Date().toISOString() }, false);
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
