// The tasks of a user, as they change: the list, the events of all tasks, and what can be requested of them.
import { forget, knownOf, remember } from "./known.js";
import { shownName } from "./names.js";
import { t } from "./words.js";

export const ENDED = ["completed", "failed", "cancelled"];
const HOPELESS = ["invalid_message", "unknown_model", "audio_not_found", "audio_unreadable", "audio_too_large"]; // a second attempt would fail, too
const REFRESH_MS = 15_000;
const RETRY_MS = 2000; // while no worker replies
const LIMIT = 200; // tasks in a reply
const RECENT_MS = 10_000; // the list is up to a second late: a task that was just published may be missing there
const FAIR = 0.2; // of the time that is left
const PRIORITIES = { high: 120, normal: 1800 }; // up to these seconds; a longer recording has low priority

export const nameOf = ({ audio_file_id, task_id }) => {
  if (audio_file_id === task_id) return t("Live audio");
  const { file } = knownOf(audio_file_id);
  if (file) return shownName(file);
  const name = shownName(audio_file_id ?? task_id).replace(/\/+$/, "").split("/").pop();
  if (name.startsWith(`${task_id}-`) && name.length > task_id.length + 1) return name.slice(task_id.length + 1);
  return name.replace(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-(?=.)/, "");
};

export const canRetry = ({ state, error }) => state === "cancelled" || (state === "failed" && !HOPELESS.includes(error?.code));

// Events: `change` and `removed` with the id of the task as `detail`, `list` when tasks have come or gone, and
// `refreshed` with the error, if the list could not be read.
export class Tasks extends EventTarget {
  byId = new Map();
  moreBefore; // where older tasks continue; null: there are none
  #isListed = null; // a promise while an event is due
  tabs = new BroadcastChannel("natscribe"); // no event tells the other tabs of a deletion

  constructor(connection, { userId = 0, streams = "transcription" }) {
    super();
    this.connection = connection;
    this.userId = userId;
    this.streams = streams;
    let next;
    const refresh = async () => {
      if (!document.hidden && connection.isConnected) await this.refresh().then(() => this.#report(null), (error) => this.#report(error));
      clearTimeout(next);
      next = setTimeout(refresh, connection.isServed ? REFRESH_MS : RETRY_MS);
    };
    for (const event of ["connected", "unserved"]) connection.addEventListener(event, refresh);
    document.addEventListener("visibilitychange", refresh);
    refresh();
    this.tabs.addEventListener("message", ({ data }) => this.remove(data));
  }

  // Tasks on this page, the newest first.
  get sorted() {
    return [...this.byId.values()].sort((one, other) => (other.created_at ?? "").localeCompare(one.created_at ?? ""));
  }

  listen() {
    this.connection.subscribe("progress.*", `${this.streams}_progress`, (event) => event.user_id === this.userId && typeof event.task_id === "string" && this.merge(event, true));
  }

  // Reads the newest tasks; those that are not listed any more have been deleted.
  async refresh() {
    const before = new Set(this.byId.keys());
    const { tasks, more_before } = await this.connection.request("tasks.list", { user_id: this.userId, limit: LIMIT });
    const oldest = tasks.at(-1)?.created_at ?? "";
    const listed = new Set(tasks.map(({ task_id }) => task_id));
    for (const id of before) {
      const { isLocal, created_at, seenAt } = this.byId.get(id) ?? {};
      const isRecent = Date.now() - seenAt < RECENT_MS;
      if (!isLocal && !isRecent && !listed.has(id) && (!more_before || created_at > oldest)) this.remove(id);
    }
    if (this.moreBefore === undefined) this.moreBefore = more_before;
    for (const task of tasks) this.merge(task, false);
    this.#listed();
  }

  // Whether workers reply, as far as the list tells.
  async isServed() {
    await this.connection.request("tasks.list", { user_id: this.userId, limit: 1 }, { timeouts: [RETRY_MS] }).catch(() => {});
    return this.connection.isConnected && this.connection.isServed;
  }

  async more() {
    const request = { user_id: this.userId, limit: LIMIT, before: this.moreBefore };
    try {
      const { tasks, more_before } = await this.connection.request("tasks.list", request);
      this.moreBefore = more_before;
      for (const task of tasks) this.merge(task, false);
      this.#listed();
    } catch (error) {
      this.#report(error);
    }
  }

  // Merges what is known of a task with an event, or with a status, which may be older than the last event.
  merge(task, isEvent) {
    const known = this.byId.get(task.task_id);
    const isStale = isEvent ? known?.sequence >= task.sequence : known?.sequence && !ENDED.includes(task.state);
    const merged = isStale ? { ...task, ...known } : { ...known, error: null, queue_position: null, seconds_ahead: null, ...task };
    if (!isStale) merged.isLocal = merged.isElsewhere = false;
    if (isEvent && !isStale) merged.estimate = estimateAfter(known, task);
    if (merged.state !== "running") merged.runningSince = undefined;
    else merged.runningSince ??= isEvent || !task.started_at ? Date.now() : Date.parse(task.started_at);
    if (isEvent || !known) merged.reportedAt = Date.now();
    merged.created_at ??= task.time ?? new Date().toISOString();
    this.#set(merged);
  }

  // Changes a task of which the service does not know yet, such as one whose recording is being uploaded.
  change(id, changes) {
    this.#set({ ...this.byId.get(id), ...changes, task_id: id });
  }

  #set(task) {
    const isNew = !this.byId.has(task.task_id);
    task.seenAt ??= Date.now();
    this.byId.set(task.task_id, task);
    if (isNew) this.#listed();
    else this.dispatchEvent(new CustomEvent("change", { detail: task.task_id }));
  }

  // A reply with many tasks is one change of the list.
  #listed() {
    this.#isListed ??= Promise.resolve().then(() => {
      this.#isListed = null;
      this.dispatchEvent(new Event("list"));
    });
  }

  #report(error) {
    this.dispatchEvent(new CustomEvent("refreshed", { detail: error }));
  }

  remove(id) {
    const { audio_file_id } = this.byId.get(id) ?? {};
    forget(id, ...(this.withSameRecording(id).length ? [] : [audio_file_id]));
    this.byId.delete(id);
    this.dispatchEvent(new CustomEvent("removed", { detail: id }));
    this.#listed();
  }

  // Removes a task here and in the other tabs.
  forget(id) {
    this.tabs.postMessage(id);
    this.remove(id);
  }

  // The other tasks with the same recording.
  withSameRecording(id) {
    const { audio_file_id } = this.byId.get(id) ?? {};
    return [...this.byId.values()].filter((task) => task.task_id !== id && task.audio_file_id === audio_file_id);
  }

  // Publishes a transcription task; `seconds` of its recording help to estimate how long others wait.
  async publish(task, { seconds, priority } = {}) {
    const more = seconds ? { "Natscribe-Audio-Seconds": seconds.toFixed(3) } : {};
    const lane = priority || (Object.keys(PRIORITIES).find((name) => seconds && seconds < PRIORITIES[name]) ?? (seconds ? "low" : "normal"));
    await this.connection.publish(`tasks.transcription.${lane}`, task, { id: task.task_id, more });
  }

  async status(id) {
    const status = await this.connection.request("tasks.status", { task_id: id });
    const { task, ...rest } = status;
    this.merge({ ...rest, options: task, audio_file_id: task?.audio_file_id ?? id }, false);
    const { queue_position, seconds_ahead } = status; // as they are now; no event reports a change
    if (status.state === "queued") this.change(id, { queue_position, seconds_ahead });
    return this.byId.get(id);
  }

  // The text of a task as it begins; empty: none is stored.
  async beginning(id) {
    const event = await this.connection.first(`${this.streams}_segments`, `segments.${id}`);
    return event?.segments.map(({ text }) => text.trim()).join(" ") ?? "";
  }

  result(id, format) {
    return this.connection.request("tasks.result", { task_id: id, format });
  }

  async cancel(id) {
    const { task, ...status } = await this.connection.request("tasks.cancel", { task_id: id });
    this.merge(status, false);
  }

  async delete(id) {
    await this.connection.request("tasks.delete", { task_id: id });
    this.forget(id);
  }

  // Publishes the same recording again, as a new task with these changes; returns its id.
  async retry(id, changes = {}) {
    const known = await this.status(id);
    const task = { ...known.options, ...changes, task_id: crypto.randomUUID() };
    remember(task.audio_file_id, { file: nameOf(known) });
    await this.publish(task);
    this.change(task.task_id, { state: "queued", audio_file_id: task.audio_file_id, created_at: new Date().toISOString(), isLocal: true });
    return task.task_id;
  }

  // Calls back with each batch of segments, from the first on; returns a function that ends this.
  segments(id, callback) {
    return this.connection.follow(`${this.streams}_segments`, `segments.${id}`, callback);
  }
}

// When a task ends, as its events say: the first estimates are too high, as parts of a recording are transcribed at the
// same time. An estimate is fair once that before it, at a lower progress, was about the same.
function estimateAfter(known, { time, attempt, progress, eta_seconds }) {
  const last = attempt === known?.attempt ? known?.estimate : undefined;
  if (!eta_seconds || progress <= last?.progress) return last;
  const end = Date.parse(time) + 1000 * eta_seconds;
  const isFair = last?.isFair || Math.abs(end - last?.end) <= FAIR * 1000 * eta_seconds;
  return { progress, end, isFair };
}
