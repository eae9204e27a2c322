// The page of one task: its progress and text while it runs, then its transcript with the recording.
import { byId, element, notice, save, say, setText } from "./dom.js";
import { knownOf, nameSpeaker, withNames } from "./known.js";
import { LongTranscript, line, plainText, wholeResult } from "./long_transcript.js";
import { isOutage, showProblem } from "./problems.js";
import { describe, explainWait, share, stateName } from "./task_state.js";
import { canRetry, ENDED, nameOf } from "./tasks.js";
import { TranscriptFrame } from "./transcript_frame.js";
import { isUnnamed, nameOrEnrol, obstacle } from "./voices.js";
import { original, size, t } from "./words.js";

const FORMATS = { txt: "Text", srt: "Subtitles", vtt: "Subtitles for web pages", html: "Web page with a player", json: "All data", rttm: "Times of the speakers" };
const TICK_MS = 1000; // of the time for which a task runs
const POLL_MS = 5000; // no event reports a change of the position in the queue
const LOAD_UP_TO_BYTES = 100e6; // of a recording that the page does not have

export class TaskPage {
  #id = null;
  #shown = null; // what the page shows of the task: "text" or "result"
  #stop = () => {}; // ends the segments of the task
  #frame = new TranscriptFrame(byId("transcript"));
  #long = new LongTranscript(byId("long-transcript"));
  #view = this.#frame; // what shows the transcript
  #whole = null; // the result, if it is too large for a message
  #isLeaving = false; // whether the reader deletes the task
  #isStale = false; // whether the status could not be read

  constructor(tasks, uploads) {
    this.tasks = tasks;
    this.uploads = uploads;
    tasks.addEventListener("change", ({ detail }) => detail === this.#id && this.#draw());
    tasks.addEventListener("list", () => this.#id && this.#draw());
    tasks.addEventListener("removed", ({ detail }) => detail === this.#id && this.#leave());
    for (const event of ["connected", "served"]) tasks.connection.addEventListener(event, () => this.#id && this.#load());
    tasks.connection.addEventListener("disconnected", () => this.#id && this.#draw());
    setInterval(() => this.#drawHint(), TICK_MS);
    setInterval(() => {
      if (this.#isStale) this.#load();
      else if (this.#task?.state === "queued") tasks.status(this.#id).catch(() => {}); // the list reports outages
    }, POLL_MS);
    for (const [format, meaning] of Object.entries(FORMATS)) byId("formats").append(element("button", { type: "button", value: format }, t(meaning), " ", element("small", {}, format)));
    byId("formats").addEventListener("click", ({ target }) => {
      byId("formats").hidePopover();
      const { value } = target.closest("button") ?? {};
      if (value) this.#run(() => this.#download(value));
    });
    byId("task-actions").addEventListener("keydown", moveInMenu);
    byId("copy-text").addEventListener("click", () => this.#run(() => this.#copy()));
    byId("print").addEventListener("click", () => print());
    byId("task-actions").addEventListener("click", ({ target }) => ["choose", "cancel", "retry", "plain", "delete"].includes(target.value) && this.#run(() => this.#act(target.value)));
  }

  get #task() {
    return this.tasks.byId.get(this.#id);
  }

  // Shows a task; null shows none.
  open(id) {
    this.#clear(id);
    if (!id) return;
    this.#draw();
    if (this.tasks.connection.isConnected) this.#load();
    byId("task-name").focus();
  }

  #clear(id) {
    this.#stop();
    for (const view of [this.#frame, this.#long]) view.hide();
    [this.#id, this.#shown, this.#whole, this.#stop] = [id, null, null, () => {}];
    for (const part of ["task-text", "speaker-names"]) byId(part).replaceChildren();
    setText(byId("task-problem"), "");
  }

  async #load() {
    if (this.#task?.isLocal) return;
    const id = this.#id;
    await this.#keep(() => this.tasks.status(id).catch((error) => {
      if (error.code !== "not_found" || this.tasks.byId.has(id) || id !== this.#id) throw error;
      this.#goToList(() => notice(t("There is no task “{id}” any more: it was deleted, or erased when its time was over.", { id })));
    }));
    if (id === this.#id) this.#draw();
  }

  #draw() {
    const task = this.#task;
    const state = task?.state;
    setText(byId("task-name"), task ? nameOf(task) : this.#id);
    byId("task-name").title = byId("task-name").textContent; // a long one is cut off
    document.title = `${task ? nameOf(task) : t("Task")} · Natscribe`; // the name of a printed file, too
    setText(byId("task-state"), task ? stateName(task) : "");
    byId("task-state").dataset.state = state ?? "";
    setText(byId("task-about"), task ? describe(task, this.tasks.connection.isConnected) : "");
    const words = task?.error ? original(task.error) : "";
    byId("task-original").hidden = !words;
    setText(byId("task-original").lastElementChild, words);
    const part = task ? share(task) : null;
    byId("task-progress").hidden = part === null;
    byId("task-progress").value = part ?? 0;
    this.#drawHint();
    byId("result").hidden = state !== "completed";
    const hasEnded = ENDED.includes(state);
    const isUnsent = state === "unsent";
    const mayRetry = isUnsent ? this.uploads.canRetry(this.#id) : Boolean(task && canRetry(task));
    const hasOwnModel = state === "failed" && task.error?.code === "unknown_model";
    const actions = {
      plain: hasOwnModel,
      choose: state === "interrupted" || (!mayRetry && !hasOwnModel && !byId("files").disabled && ["failed", "unsent"].includes(state)),
      cancel: task && !hasEnded && !isUnsent,
      retry: mayRetry,
      delete: hasEnded || isUnsent,
    };
    for (const [name, isShown] of Object.entries(actions)) byId("task-actions").querySelector(`[value=${name}]`).hidden = !isShown;
    setText(byId("task-actions").querySelector("[value=choose]"), state === "interrupted" ? t("Choose the file") : t("Choose another file"));
    this.#follow(task);
  }

  // Not announced: it changes each second.
  #drawHint() {
    const isFollowed = this.#task && this.tasks.connection.isConnected;
    setText(byId("task-hint"), isFollowed ? explainWait(this.#task, byId("task-text").hasChildNodes()) : "");
  }

  #follow(task) {
    if (!task || task.isLocal || !this.tasks.connection.isConnected) return;
    const wanted = task.state === "completed" ? "result" : "text";
    if (this.#shown === wanted) return;
    this.#shown = wanted;
    const id = this.#id;
    this.#keep(() => (wanted === "result" ? this.#showResult() : this.#showText()).catch((error) => {
      if (id === this.#id && error.name !== "ServiceError") this.#shown = null; // the next change repeats it
      throw error;
    }));
  }

  async #showText() {
    const id = this.#id;
    let last = 0; // sequence
    const stop = await this.tasks.segments(id, ({ sequence, segments }) => {
      if (id !== this.#id || sequence <= last) return;
      last = sequence;
      byId("task-text").append(...segments.map(line));
      this.#drawHint();
    });
    if (id === this.#id && this.#shown === "text") this.#stop = stop;
    else stop();
  }

  async #showResult() {
    const id = this.#id;
    this.#stop();
    const html = await this.tasks.result(id, "html");
    const whole = typeof html === "string" ? null : await wholeResult(this.tasks.connection, html);
    if (id !== this.#id) return;
    [this.#whole, this.#view] = [whole, whole ? this.#long : this.#frame];
    if (!this.#task?.options) await this.tasks.status(id);
    if (id !== this.#id) return;
    await this.#view.show(whole ?? html, this.#task.options?.translate);
    if (id !== this.#id) return;
    for (const [speaker, name] of Object.entries(knownOf(id).names ?? {})) this.#view.rename(speaker, name);
    byId("task-text").replaceChildren();
    this.#drawSpeakers();
    this.#view.onSpeaker((speaker) => isUnnamed(speaker) && this.#name(speaker));
    await this.#playRecording(id);
  }

  async #playRecording(id) {
    const { audio_file_id } = this.#task;
    const about = (words) => id === this.#id && setText(byId("task-about"), words);
    const recording = this.uploads.files.get(id) ?? (await this.uploads.bucket.get(audio_file_id, (received, whole) => {
      if (whole > LOAD_UP_TO_BYTES || id !== this.#id) throw new RangeError();
      about(t("Loading the recording: {sent} of {size}", { sent: size(received), size: size(whole) }));
    }).catch((error) => {
      const [isLarge, isLost] = [error instanceof RangeError, error.code === undefined];
      about(isLarge ? t("The recording is large: choose it below the transcript to listen.") : isLost ? "" : t("The recording is not stored here: choose it below the transcript to listen."));
    }));
    if (!recording || id !== this.#id) return;
    setText(byId("task-about"), "");
    this.#view.play(recording instanceof File ? recording : new File([recording], nameOf(this.#task)));
  }

  #drawSpeakers() {
    const { names = {} } = knownOf(this.#id);
    const rows = this.#view.speakers.map((speaker) => {
      if (!isUnnamed(speaker)) return element("li", {}, speaker); // the service knows the name
      const name = names[speaker];
      const button = element("button", { type: "button", title: name ? t("Another name for {name}", { name }) : "" }, name ?? t("Name {speaker} …", { speaker }));
      button.addEventListener("click", () => this.#name(speaker));
      return element("li", {}, button);
    });
    byId("speaker-names").replaceChildren(...rows);
    byId("speaker-names").tabIndex = byId("speaker-names").querySelector("button") ? -1 : 0; // a key scrolls many names
  }

  #name(speaker) {
    const id = this.#id;
    const voice = { canEnrol: Boolean(this.#task.options?.identify), obstacle: obstacle(speaker, this.#view.secondsOf(speaker)) };
    nameOrEnrol(this.tasks, id, speaker, voice, (sentence, name) => {
      nameSpeaker(id, speaker, name);
      say(sentence);
      if (id !== this.#id) return;
      this.#view.rename(speaker, name || speaker);
      this.#drawSpeakers();
    });
  }

  // Returns the result in a format; the service cannot send one that is too large for a message.
  async #written(format) {
    const { names } = knownOf(this.#id);
    const result = await this.tasks.result(this.#id, format);
    if (typeof result === "string") return format === "rttm" ? result : withNames(result, format, names); // names may have blanks
    const whole = result.object ? (this.#whole ??= await wholeResult(this.tasks.connection, result)) : result;
    if (format === "json") return JSON.stringify(whole, null, 2);
    if (format === "txt") return withNames(plainText(whole), format, names);
    const command = `natscribe result ${this.#id} --format ${format} --output-dir .`;
    throw new Error(t("This is too large for a message of NATS. On the command line you get it with “{command}”", { command }));
  }

  async #download(format) {
    save(`${nameOf(this.#task).replace(/\.\w+$/, "")}.${format}`, await this.#written(format), "text/plain");
  }

  async #copy() {
    await navigator.clipboard.writeText(await this.#written("txt"));
    say(t("Copied"));
  }

  async #act(action) {
    const id = this.#id;
    const isLocal = this.#task.isLocal && this.#task.state !== "queued"; // published again: the service has it
    if (action === "choose") return byId("files").click();
    if (action === "retry") {
      if (isLocal) return this.uploads.retry(id);
      location.hash = `#task/${await this.tasks.retry(id)}`;
      return undefined;
    }
    if (action === "plain") {
      location.hash = `#task/${await this.tasks.retry(id, { model: undefined })}`;
      return undefined;
    }
    if (action === "cancel" && !isLocal) return this.tasks.cancel(id);
    if (action === "delete" && !this.#mayDelete()) return undefined;
    this.#isLeaving = true;
    await (isLocal ? this.uploads.cancel(id) : this.tasks.delete(id)).finally(() => (this.#isLeaving = false));
    return undefined;
  }

  // The task is gone: deleted here, or in another tab, by another program, or because its time is over.
  #leave() {
    if (this.#isLeaving) return this.#goToList(() => say(t("Deleted")));
    this.#clear(null);
    for (const part of [byId("result"), byId("task-progress"), byId("task-original"), ...byId("task-actions").querySelectorAll(":scope > button")]) part.hidden = true;
    byId("task-state").dataset.state = "cancelled";
    setText(byId("task-state"), t("Deleted"));
    setText(byId("task-about"), t("The task, its text and its recording were deleted, or erased when their time was over."));
    return undefined;
  }

  #goToList(then) {
    addEventListener("hashchange", then, { once: true }); // it clears what was said before
    location.hash = "#";
  }

  // The service deletes a recording with any of its tasks, such as one that was tried again.
  #mayDelete() {
    const others = this.tasks.withSameRecording(this.#id);
    if (others.some(({ state }) => !ENDED.includes(state))) throw new Error(t("Another task needs this recording: wait until it has ended, or cancel it. Then delete this one"));
    const question = t("Delete the task, its text and its recording?");
    return confirm(others.length ? `${question} ${t("Other tasks have the same recording: they keep their text, but can neither play it nor be tried again.")}` : question);
  }

  // Does what the reader wants.
  #run(action) {
    setText(byId("task-problem"), "");
    return this.#explain(action);
  }

  async #explain(action) {
    const id = this.#id;
    try {
      await action();
    } catch (error) {
      if (id === this.#id) showProblem(byId("task-problem"), error, this.tasks.connection.server);
    }
  }

  // Reads what the page shows; what fails is repeated, so its problem goes. Of an outage, the box above all pages speaks.
  #keep(read) {
    return this.#explain(() => read().then(() => {
      if (this.#isStale) setText(byId("task-problem"), "");
      this.#isStale = false;
    }, async (error) => {
      this.#isStale = this.#id !== null;
      if (!isOutage(error) || (await this.tasks.isServed())) throw error;
    }));
  }
}

// The arrows open the menu of formats, and move in it.
function moveInMenu(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const menu = byId("formats");
  const isInMenu = menu.contains(event.target);
  if (!step || !(isInMenu || event.target.matches(".menu"))) return;
  event.preventDefault();
  if (!isInMenu) menu.showPopover();
  const items = [...menu.children];
  const at = isInMenu ? items.indexOf(event.target) + step : step > 0 ? 0 : -1;
  items.at(at % items.length).focus();
}
