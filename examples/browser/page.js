// The page: starts and stops a live task, and says what happens.
import { connect, Live } from "./live.js";
import { Microphone } from "./microphone.js";
import { problem } from "./problems.js";
import { clock, Transcript } from "./transcript.js";

const LANGUAGES = ["ar", "cs", "de", "el", "en", "es", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "ko", "nl", "no", "pl", "pt", "ro", "ru", "sv", "tr", "uk", "vi", "zh"];
const SILENT_AFTER_MS = 5000;
const BEGUN_WITHIN_MS = 3000; // a worker that is there tells within this time that it runs a task, or that the task waits
const LOST_AFTER_MS = 10_000; // a worker that runs a task tells of it more often
const TOLD_EVERY_S = 2; // sound that came after the last event is no lag yet
const place = (id) => document.getElementById(id);
const settings = await fetch("settings.json").then((answer) => answer.json()).catch(() => ({}));
let transcript = new Transcript();
let running = null; // the recording that goes on

place("server").value = settings.server ?? "";
for (const code of LANGUAGES) place("language").append(new Option(new Intl.DisplayNames([code], { type: "language" }).of(code), code));

class Recording {
  #last = {}; // progress event
  #recorded = 0; // seconds
  #toldAt = performance.now(); // when the last progress event came
  #recordedThen = 0; // seconds
  #isStopping = false;
  #isConnected = true;
  #loudAt = performance.now();

  async begin(microphone) {
    this.microphone = microphone;
    this.connection = await connect({ ...settings, server: place("server").value, user: place("user").value, password: place("password").value });
    const { promise, resolve } = Promise.withResolvers();
    this.ended = promise;
    this.live = new Live(this.connection, this.#options(), {
      partial: (partial) => transcript.partial(partial),
      segments: (event) => this.#segments(event),
      progress: (event) => {
        this.#last = event;
        [this.#toldAt, this.#recordedThen] = [performance.now(), this.#recorded];
        if (this.live.hasEnded) resolve();
      },
      connected: (isConnected) => (this.#isConnected = isConnected),
      problem: show,
    });
    await this.live.begin();
    this.connection.closed().then(resolve);
    microphone.start((bytes, seconds) => {
      this.#recorded += seconds;
      this.live.send(bytes, seconds);
    }, () => {
      show("The microphone was taken away. What was said until then is kept; connect it, then press Start.");
      this.stop();
    });
    const awake = await navigator.wakeLock?.request("screen").catch(() => null); // a phone goes on while it listens
    this.ended.then(() => awake?.release());
  }

  // Sends the rest of the sound; the text ends with the task.
  async stop() {
    this.#isStopping = true;
    await this.microphone.stop();
    await this.live.end();
  }

  // Waits until the task ends, whoever ends it, and shows how; returns whether its text is complete.
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
    if (!this.#isStopping) show("No sound came to NATS for two minutes, so the text ends there. Press Start to go on.");
    try {
      transcript.finish(await this.live.result());
    } catch {
      transcript.note("The result did not come: this is the text as it was found, without speakers.");
    }
  }

  #options() {
    const [language, diarize] = [place("language").value || null, place("speakers").checked];
    return { user_id: settings.userId ?? "browser", streams: settings.streams, language, diarize };
  }

  #segments(event) {
    transcript.add(event);
    place("copy").disabled = place("save").disabled = !transcript.lines.length;
  }

  get level() {
    const { level } = this.microphone;
    if (level > 0.05) this.#loudAt = performance.now();
    return level;
  }

  get state() {
    const { state, stage, queue_position } = this.#last;
    if (!this.#isConnected) return "NATS is away: your sound is kept";
    if (stage === "diarizing" || stage === "merging") return "Finding the speakers …";
    if (state === "queued" || state === "retrying" || this.#isLost) return `Waiting for a worker: your sound is kept${state === "queued" && queue_position ? ` (place ${queue_position})` : ""}`;
    if (this.#isStopping) return "Writing the rest …";
    if (performance.now() - this.#loudAt > SILENT_AFTER_MS) return "Listening, but it is silent: is the microphone muted?";
    return "Listening";
  }

  // Whether no worker tells of the task.
  get #isLost() {
    return performance.now() - this.#toldAt > (this.#last.state ? LOST_AFTER_MS : BEGUN_WITHIN_MS);
  }

  get lag() {
    const since = this.#recorded - this.#recordedThen; // seconds of which no event has told
    const untold = Math.max(since > TOLD_EVERY_S ? since : 0, this.live.waitingSeconds);
    const behind = this.live.hasEnded ? 0 : Math.floor((this.#last.lag_seconds ?? 0) + untold);
    return `${clock(this.#recorded)}${behind > 0 ? `, text ${behind} s behind` : ""}`;
  }
}

// Shows a sentence or an error; null removes it.
function show(error) {
  const words = typeof error === "string" ? error : error && problem(error, place("server").value);
  if (place("problem").textContent !== (words ?? "")) place("problem").textContent = words ?? "";
  place("problem").hidden = !words;
  if (["AuthorizationError", "ConnectionError"].includes(error?.name)) place("connection").open = true;
}

function say(words) {
  if (place("state").textContent !== words) place("state").textContent = words; // a screen reader says each change
}

function draw() {
  if (!running?.live?.publishing) return;
  say(running.state);
  place("lag").textContent = running.lag;
  place("level").style.scale = `${running.level} 1`;
  requestAnimationFrame(draw);
}

function set(button, { isOn, disabled = false }) {
  place("record").textContent = button;
  place("record").classList.toggle("stop", isOn);
  place("record").disabled = disabled;
  document.querySelector("fieldset").disabled = isOn || disabled;
}

async function record() {
  let microphone;
  set("Start", { isOn: false, disabled: true });
  place("hint").hidden = true;
  show(null);
  transcript = new Transcript();
  place("copy").disabled = place("save").disabled = true;
  running = new Recording();
  let end = "Ready";
  try {
    say("Asking for the microphone …");
    microphone = await Microphone.open();
    say("Connecting …");
    await running.begin(microphone);
    set("Stop", { isOn: true });
    draw();
    if (await running.end()) end = "Done";
    place("lag").textContent = running.lag;
  } catch (error) {
    show(error);
    microphone?.close();
    await running.connection?.close();
  }
  running = null;
  say(end);
  place("level").style.scale = "0 1";
  transcript.clearPartial();
  set("Start", { isOn: false });
}

place("options").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running) return record();
  set("Stop", { isOn: true, disabled: true });
  return running.stop();
});
place("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(transcript.lines.join("\n"));
  say("Copied");
});
place("save").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${transcript.lines.join("\n")}\n`], { type: "text/plain" }));
  link.download = "text.txt";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser may still read it
});
place("hint").textContent = "Press Start and speak. The text comes about a second later.";
place("record").disabled = false;
addEventListener("beforeunload", (event) => running && event.preventDefault());
