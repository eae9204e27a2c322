// The tab Live: starts and stops a live transcription task, and shows its state.
import { ServiceError } from "./connection.js";
import { byId, clock, element, notice, save, setText } from "./dom.js";
import { connect, Live } from "./live.js";
import { Transcript } from "./live_text.js";
import { wholeResult } from "./long_transcript.js";
import { Microphone } from "./microphone.js";
import { fillLanguages } from "./options.js";
import { showProblem } from "./problems.js";
import { t } from "./words.js";

const SILENT_AFTER_MS = 5000;
const START_TIMEOUT_MS = 3000; // within this time a worker reports that the task runs or waits
const LOST_AFTER_MS = 10_000; // a worker reports on a running task more often
const LAST = "natscribe.recording"; // the last task of this tab: its id, and whether its recording is over
const OPTIONS = "natscribe.live";
const REPORT_INTERVAL_S = 2; // audio after the last event is no lag yet
let settings; // of the page
let login; // reads the login from the page
let onMessage; // reports a message of the task
let transcript;
let running = null; // the current recording
let connection; // of the page
let stopFollowing = () => {}; // ends the text of the last task

class Recording {
  #last = {}; // progress event
  #recorded = 0; // seconds
  #reportedAt = performance.now(); // time of the last progress event
  #recordedAtReport = 0; // seconds
  #isStopping = false;
  #isConnected = true;
  #loudAt = performance.now();

  async start(microphone) {
    this.microphone = microphone;
    this.connection = await connect(login());
    const { promise, resolve } = Promise.withResolvers();
    this.ended = promise;
    this.live = new Live(this.connection, this.#options(), {
      partial: (partial) => transcript.partial(partial),
      segments: (event) => this.#segments(event),
      speakers: (event) => this.#speakers(event),
      progress: (event) => {
        this.#last = event;
        [this.#reportedAt, this.#recordedAtReport] = [performance.now(), this.#recorded];
        if (this.live.hasEnded) resolve();
      },
      connected: (isConnected) => (this.#isConnected = isConnected),
      problem: show,
      message: onMessage,
    });
    await this.live.start();
    this.#reportedAt = performance.now(); // to allow the microphone may have taken long
    this.connection.closed().then(resolve);
    microphone.start((bytes, seconds) => {
      this.#recorded += seconds;
      this.live.send(bytes, seconds);
    }, () => {
      show(t("The microphone was taken away. The audio until then is kept; connect it, then press Start."));
      this.stop();
    });
    const awake = navigator.wakeLock?.request("screen").catch(() => null); // keeps a phone awake while it records
    this.ended.then(async () => (await awake)?.release());
  }

  // Requests the text of what was said so far, without waiting for a pause.
  async finalize() {
    if (this.#isStopping) return;
    await this.microphone.flush();
    this.live.finalize();
  }

  // Sends the rest of the audio; the text ends with the task.
  async stop() {
    this.#isStopping = true;
    await this.microphone.stop();
    await this.live.end();
  }

  // Waits until the task ends, shows its outcome, and returns whether its text is complete.
  async end() {
    await this.ended;
    await this.microphone.stop();
    const { state, error } = this.#last;
    if (error) show(new ServiceError(error));
    if (state === "completed") await this.#finish();
    if (state === "cancelled") show(t("Somebody has cancelled the task. Press Start for another one."));
    await this.connection.close();
    return state === "completed";
  }

  async #finish() {
    if (!this.#isStopping) show(t("No audio reached NATS for two minutes, so the text ends there. Press Start to go on."));
    try {
      transcript.finish(await this.live.result());
      if (!transcript.lines.length) transcript.note(t("No speech detected."));
    } catch {
      transcript.note(t("The result did not come: this is the text as it was transcribed, without speakers."));
    }
  }

  #options() {
    const [language, diarize] = [byId("language").value || null, byId("speakers").checked];
    const keep_audio = Boolean(settings.bucket); // to play it beside the transcript
    return { user_id: settings.userId ?? 0, streams: settings.streams, language, diarize, identify: diarize, keep_audio, word_timestamps: true };
  }

  #segments(event) {
    transcript.add(event);
    drawButtons();
  }

  async #speakers(event) {
    const names = Object.keys(event.voices).length ? await this.#voices() : new Map();
    transcript.speakers(event, names);
  }

  // The names of the user's voices by their ids; none if no worker replies, as the result has them, too.
  async #voices() {
    const request = JSON.stringify({ user_id: settings.userId ?? 0 });
    try {
      const { voices } = (await this.connection.request("voices.list", request, { timeout: 5000 })).json();
      return new Map(voices.map(({ voice, name }) => [voice, name]));
    } catch {
      return new Map();
    }
  }

  get level() {
    const { level } = this.microphone;
    if (level > 0.05) this.#loudAt = performance.now();
    return level;
  }

  get state() {
    const { state, stage, queue_position } = this.#last;
    if (!this.#isConnected) return t("NATS is away: your audio is kept");
    if (stage === "diarizing" || stage === "merging") return t("Finding the speakers …");
    if (state === "queued" || state === "retrying" || this.#isLost) return t("Waiting for a worker: your audio is kept") + (state === "queued" && queue_position ? ` (${t("place {place}", { place: queue_position })})` : "");
    if (this.#isStopping) return t("Writing the rest …");
    if (performance.now() - this.#loudAt > SILENT_AFTER_MS) return t("Listening, but it is silent: is the microphone muted?");
    return t("Listening");
  }

  // Whether no worker has reported on the task for too long.
  get #isLost() {
    return performance.now() - this.#reportedAt > (this.#last.state ? LOST_AFTER_MS : START_TIMEOUT_MS);
  }

  get recorded() {
    return clock(this.#recorded);
  }

  get lag() {
    const since = this.#recorded - this.#recordedAtReport; // seconds that no event covers
    const unreported = Math.max(since > REPORT_INTERVAL_S ? since : 0, this.live.pendingSeconds);
    const behind = this.live.hasEnded ? 0 : Math.floor((this.#last.lag_seconds ?? 0) + unreported);
    return this.recorded + (behind > 0 ? t(", text {seconds} s behind", { seconds: behind }) : "");
  }
}

// Shows a sentence or an error; null removes it.
function show(error) {
  if (typeof error === "string") setText(byId("problem"), error);
  else if (error) showProblem(byId("problem"), error, byId("server").value);
  byId("problem").hidden = !error;
  if (["AuthorizationError", "ConnectionError"].includes(error?.name)) byId("connection").open = true;
}

function say(words) {
  setText(byId("state"), words);
}

function draw() {
  if (!running?.live?.publishing) return;
  say(running.state);
  setText(byId("lag"), running.lag);
  setText(byId("recording-now"), t("Recording {time}", { time: running.recorded }));
  byId("recording-now").hidden = location.hash === "#live";
  byId("level").style.scale = `${running.level} 1`;
  requestAnimationFrame(draw);
}

function set(button, { isOn, disabled = false }) {
  setText(byId("record"), t(button));
  byId("record").classList.toggle("stop", isOn);
  byId("record").disabled = disabled;
  document.querySelector("fieldset").disabled = isOn || disabled;
  byId("finalize").hidden = !isOn || disabled;
}

async function record() {
  let microphone;
  set("Start", { isOn: false, disabled: true });
  byId("hint").hidden = byId("to-transcript").hidden = true;
  show(null);
  stopFollowing();
  transcript = new Transcript();
  drawButtons();
  running = new Recording();
  let end = t("Ready");
  try {
    say(t("Asking for the microphone …"));
    microphone = await Microphone.open();
    say(t("Connecting …"));
    await running.start(microphone);
    keepLast(running.live.task.task_id, false);
    set("Stop", { isOn: true });
    byId("finalize").focus(); // so the space bar presses it
    draw();
    if (await running.end()) {
      end = t("Done");
      linkTo(running.live.task.task_id);
    }
    keepLast(running.live.task.task_id, true);
    setText(byId("lag"), running.lag);
  } catch (error) {
    show(error);
    microphone?.close();
    await running.connection?.close();
  }
  running = null;
  byId("recording-now").hidden = true;
  say(end);
  byId("level").style.scale = "0 1";
  transcript.clearPartial();
  set("Start", { isOn: false });
}

const drawButtons = () => (byId("copy").disabled = byId("save").disabled = !transcript.lines.length);

function linkTo(id) {
  byId("to-transcript").firstChild.href = `#task/${id}`;
  byId("to-transcript").hidden = false;
}

const keepLast = (id, isOver) => sessionStorage.setItem(LAST, JSON.stringify({ id, isOver }));
const lastTask = () => JSON.parse(sessionStorage.getItem(LAST) ?? "null");

// A recording ends with the page; its task has the text so far.
function showInterrupted() {
  const { id, isOver } = lastTask() ?? { isOver: true };
  if (isOver) return;
  keepLast(id, true);
  notice(t("The recording has ended, because this page was loaded again. Its text so far:"), " ", element("a", { href: `#task/${id}` }, t("Open the task")));
}

// Shows the text of the last task: its result, or, if there is none, what has been transcribed, until somebody records.
async function showLast() {
  const { id } = lastTask() ?? {};
  if (!id || running || transcript.lines.length) return;
  try {
    const result = await connection.request("tasks.result", { task_id: id });
    const whole = result.object ? await wholeResult(connection, result) : result;
    if (running || transcript.lines.length) return;
    transcript.finish(whole);
    linkTo(id);
  } catch (error) {
    if (error.code === "not_found") sessionStorage.removeItem(LAST);
    if (error.code !== "not_finished" || running) return;
    stopFollowing();
    stopFollowing = await connection.follow(`${settings.streams ?? "transcription"}_segments`, `segments.${id}`, (event) => {
      if (running) return;
      transcript.add(event);
      drawButtons();
    });
  }
  byId("hint").hidden = true;
  drawButtons();
}

// Restores the options of the last visit, and stores those that are chosen.
function keepOptions() {
  const [language, speakers] = [byId("language"), byId("speakers")];
  const stored = JSON.parse(localStorage.getItem(OPTIONS) ?? "{}");
  [language.value, speakers.checked] = [stored.language ?? "", stored.speakers ?? false];
  byId("options").addEventListener("change", () => localStorage.setItem(OPTIONS, JSON.stringify({ language: language.value, speakers: speakers.checked })));
}

// Returns a function that says whether somebody records.
export function startLive(given) {
  ({ settings, login, onMessage, connection } = given);
  transcript = new Transcript();
  fillLanguages(byId("language"));
  keepOptions();
  byId("options").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!running) return record();
    set("Stop", { isOn: true, disabled: true });
    return running.stop();
  });
  byId("finalize").addEventListener("click", () => running?.finalize());
  addEventListener("keydown", (event) => {
    if (event.code !== "Space" || event.target !== document.body || byId("finalize").hidden || byId("live").hidden) return;
    event.preventDefault(); // it would scroll
    if (!event.repeat) running?.finalize();
  });
  byId("copy").addEventListener("click", async () => {
    await navigator.clipboard.writeText(transcript.lines.join("\n"));
    say(t("Copied"));
  });
  byId("save").addEventListener("click", () => save("text.txt", `${transcript.lines.join("\n")}\n`, "text/plain"));
  byId("record").disabled = false;
  showInterrupted();
  connection.addEventListener("connected", showLast);
  addEventListener("beforeunload", (event) => running && event.preventDefault());
  return () => running !== null;
}
