// A transcript that is too large for a message: its segments beside a player, from the result in the Object Store.
import { clock, element } from "./dom.js";
import { labelOf, rename } from "./known.js";
import { Bucket } from "./objects.js";
import { control, findDuration, onPlayerKey } from "./player.js";
import { t } from "./words.js";

const DRAWN_AT_ONCE = 50; // segments, before the browser may do something else

// Returns the whole result, with the current names of its speakers; `reference` is the result without segments.
export async function wholeResult(connection, reference) {
  const { bucket, name } = reference.object;
  const result = await new Response(await new Bucket(connection, bucket).get(name)).json();
  const names = Object.entries(reference.voices ?? {}).filter(([, { voice, name }]) => voice && name);
  const nameOf = new Map(names.map(([label, { name }]) => [label, name]));
  for (const segment of result.segments) segment.speaker = nameOf.get(segment.speaker) ?? segment.speaker;
  return result;
}

export const plainText = ({ segments }) => segments.map(({ speaker, text }) => `${speaker ? `${speaker}: ` : ""}${text}\n`).join("");

// A segment as a line; the speaker is named where another one spoke before.
export function line({ start, text, language, speaker }, before) {
  const words = element("p", { lang: language ?? "" }, element("time", {}, clock(start)), " ");
  if (speaker && speaker !== before?.speaker) words.append(element("b", {}, speaker));
  words.append(text.trim());
  return words;
}

export class LongTranscript {
  speakers = [];
  #segments = [];
  #lit = null; // the line that is spoken
  #onSpeaker = () => {};

  constructor(section) {
    this.section = section;
    [this.lines, this.audio, this.input] = [".lines", "audio", "input"].map((part) => section.querySelector(part));
    this.input.addEventListener("change", () => this.input.files.length && this.play(this.input.files[0]));
    this.audio.addEventListener("timeupdate", () => this.#light());
    onPlayerKey((event) => !this.section.hidden && !this.audio.hidden && !control(this.audio, event));
    this.lines.addEventListener("click", ({ target }) => this.#click(target));
  }

  async show({ segments }) {
    this.hide();
    this.#segments = segments;
    this.speakers = [...new Set(segments.map(({ speaker }) => speaker).filter(Boolean))];
    this.section.hidden = false;
    for (let at = 0; at < segments.length && this.#segments === segments; at += DRAWN_AT_ONCE) {
      this.lines.append(...segments.slice(at, at + DRAWN_AT_ONCE).map((segment, index) => line(segment, segments[at + index - 1])));
      await new Promise((done) => setTimeout(done));
    }
    if (!segments.length) this.lines.append(t("No speech detected."));
  }

  play(recording) {
    URL.revokeObjectURL(this.audio.src);
    findDuration(this.audio);
    this.audio.src = URL.createObjectURL(recording);
    this.#setPlayable(true);
  }

  secondsOf(speaker) {
    return this.#segments.reduce((seconds, segment) => seconds + (segment.speaker === speaker ? segment.end - segment.start : 0), 0);
  }

  rename(speaker, name) {
    for (const node of this.lines.querySelectorAll("b")) rename(node, speaker, name);
  }

  onSpeaker(callback) {
    this.#onSpeaker = callback;
  }

  hide() {
    this.section.hidden = true;
    this.lines.replaceChildren();
    [this.#segments, this.#lit] = [[], null];
    this.audio.pause();
    this.#setPlayable(false);
  }

  #setPlayable(isPlayable) {
    this.audio.hidden = !isPlayable;
    this.input.parentElement.hidden = isPlayable;
    this.section.classList.toggle("playable", isPlayable);
  }

  #click(target) {
    if (target.localName === "b") return this.#onSpeaker(labelOf(target));
    const at = [...this.lines.children].indexOf(target.closest("p"));
    if (at < 0 || this.audio.hidden || !getSelection().isCollapsed) return;
    this.audio.currentTime = this.#segments[at].start;
    this.audio.play();
  }

  // Marks the line that is spoken, and keeps it in view unless somebody reads elsewhere.
  #light() {
    const now = this.audio.currentTime;
    const at = this.#segments.findLastIndex(({ start }) => start <= now);
    const spoken = now < this.#segments[at]?.end ? this.lines.children[at] : null;
    if (!spoken || spoken === this.#lit) return;
    const box = this.#lit?.getBoundingClientRect();
    this.#lit?.removeAttribute("aria-current");
    spoken.setAttribute("aria-current", "true");
    if (!box || (box.bottom > 0 && box.top < innerHeight)) spoken.scrollIntoView({ block: "nearest" });
    this.#lit = spoken;
  }
}
