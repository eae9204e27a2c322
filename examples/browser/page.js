// The page: starts and stops a live transcription task, and shows its state.
import { connect, Live } from "./live.js";
import { Microphone } from "./microphone.js";
import { problem } from "./problems.js";
import { clock, Transcript } from "./transcript.js";

const LANGUAGES = ["ar", "cs", "de", "el", "en", "es", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "ko", "nl", "no", "pl", "pt", "ro", "ru", "sv", "tr", "uk", "vi", "zh"];
const SILENT_AFTER_MS = 5000;
const START_TIMEOUT_MS = 3000; // within this time a worker reports that the task runs or waits
const LOST_AFTER_MS = 10_000; // a worker reports on a running task more often
const REPORT_INTERVAL_S = 2; // audio after the last event is no lag yet
const byId = (id) => document.getElementById(id);
const settings = await fetch("settings.json").then((reply) => reply.json()).catch(() => ({}));
let transcript = new Transcript();
let running = null; // the current recording

byId("server").value = settings.server ?? "";
for (const code of LANGUAGES) byId("language").append(new Option(new Intl.DisplayNames([code], { type: "language" }).of(code), code));

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
    this.connection = await connect({ ...settings, server: byId("server").value, user: byId("user").value, password: byId("password").value });
    const { promise, resolve } = Promise.withResolvers();
    this.ended = promise;
    this.live = new Live(this.connection, this.#options(), {
      partial: (partial) => transcript.partial(partial),
      segments: (event) => this.#segments(event),
      progress: (event) => {
        this.#last = event;
        [this.#reportedAt, this.#recordedAtReport] = [performance.now(), this.#recorded];
        if (this.live.hasEnded) resolve();
      },
      connected: (isConnected) => (this.#isConnected = isConnected),
      problem: show,
    });
    await this.live.start();
    this.connection.closed().then(resolve);
    microphone.start((bytes, seconds) => {
      this.#recorded += seconds;
      this.live.send(bytes, seconds);
    }, () => {
      show("The microphone was taken away. The audio until then is kept; connect it, then press Start.");
      this.stop();
    });
    const awake = await navigator.wakeLock?.request("screen").catch(() => null); // keeps a phone awake while it records
    this.ended.then(() => awake?.release());
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
    if (error) show(error.message);
    if (state === "completed") await this.#finish();
    if (state === "cancelled") show("Somebody has cancelled the task. Press Start for another one.");
    await this.connection.close();
    return state === "completed";
  }

  async #finish() {
    if (!this.#isStopping) show("No audio reached NATS for two minutes, so the text ends there. Press Start to go on.");
    try {
      transcript.finish(await this.live.result());
    } catch {
      transcript.note("The result did not come: this is the text as it was transcribed, without speakers.");
    }
  }

  #options() {
    const [language, diarize] = [byId("language").value || null, byId("speakers").checked];
    return { user_id: settings.userId ?? "browser", streams: settings.streams, language, diarize };
  }

  #segments(event) {
    transcript.add(event);
    byId("copy").disabled = byId("save").disabled = !transcript.lines.length;
  }

  get level() {
    const { level } = this.microphone;
    if (level > 0.05) this.#loudAt = performance.now();
    return level;
  }

  get state() {
    const { state, stage, queue_position } = this.#last;
    if (!this.#isConnected) return "NATS is away: your audio is kept";
    if (stage === "diarizing" || stage === "merging") return "Finding the speakers …";
    if (state === "queued" || state === "retrying" || this.#isLost) return `Waiting for a worker: your audio is kept${state === "queued" && queue_position ? ` (place ${queue_position})` : ""}`;
    if (this.#isStopping) return "Writing the rest …";
    if (performance.now() - this.#loudAt > SILENT_AFTER_MS) return "Listening, but it is silent: is the microphone muted?";
    return "Listening";
  }

  // Whether no worker has reported on the task for too long.
  get #isLost() {
    return performance.now() - this.#reportedAt > (this.#last.state ? LOST_AFTER_MS : START_TIMEOUT_MS);
  }

  get lag() {
    const since = this.#recorded - this.#recordedAtReport; // seconds that no event covers
    const unreported = Math.max(since > REPORT_INTERVAL_S ? since : 0, this.live.pendingSeconds);
    const behind = this.live.hasEnded ? 0 : Math.floor((this.#last.lag_seconds ?? 0) + unreported);
    return `${clock(this.#recorded)}${behind > 0 ? `, text ${behind} s behind` : ""}`;
  }
}

// Shows a sentence or an error; null removes it.
function show(error) {
  const words = typeof error === "string" ? error : error && problem(error, byId("server").value);
  if (byId("problem").textContent !== (words ?? "")) byId("problem").textContent = words ?? "";
  byId("problem").hidden = !words;
  if (["AuthorizationError", "ConnectionError"].includes(error?.name)) byId("connection").open = true;
}

function say(words) {
  if (byId("state").textContent !== words) byId("state").textContent = words; // a screen reader says each change
}

function draw() {
  if (!running?.live?.publishing) return;
  say(running.state);
  byId("lag").textContent = running.lag;
  byId("level").style.scale = `${running.level} 1`;
  requestAnimationFrame(draw);
}

function set(button, { isOn, disabled = false }) {
  byId("record").textContent = button;
  byId("record").classList.toggle("stop", isOn);
  byId("record").disabled = disabled;
  document.querySelector("fieldset").disabled = isOn || disabled;
}

async function record() {
  let microphone;
  set("Start", { isOn: false, disabled: true });
  byId("hint").hidden = true;
  show(null);
  transcript = new Transcript();
  byId("copy").disabled = byId("save").disabled = true;
  running = new Recording();
  let end = "Ready";
  try {
    say("Asking for the microphone …");
    microphone = await Microphone.open();
    say("Connecting …");
    await running.start(microphone);
    set("Stop", { isOn: true });
    draw();
    if (await running.end()) end = "Done";
    byId("lag").textContent = running.lag;
  } catch (error) {
    show(error);
    microphone?.close();
    await running.connection?.close();
  }
  running = null;
  say(end);
  byId("level").style.scale = "0 1";
  transcript.clearPartial();
  set("Start", { isOn: false });
}

byId("options").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running) return record();
  set("Stop", { isOn: true, disabled: true });
  return running.stop();
});
byId("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(transcript.lines.join("\n"));
  say("Copied");
});
byId("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${transcript.lines.join("\n")}\n`], { type: "text/plain" }));
  link.download = "text.txt";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser may still read it
});
byId("hint").textContent = "Press Start and speak. The text comes about a second later.";
byId("record").disabled = false;
addEventListener("beforeunload", (event) => running && event.preventDefault());
