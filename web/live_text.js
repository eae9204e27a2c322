// Shows the final text and the partial results. All of it is inserted as text, never as HTML.
import { byId, clock, element, setText } from "./dom.js";
import { t } from "./words.js";

const COLOURS = 8; // of speakers, in the style sheet

export class Transcript {
  #segments = []; // each with its line on the page
  #turns = []; // seconds whose speaker became known after their segments
  #same = new Map(); // labels that turned out to be another one
  #names = new Map(); // of labels whose voice is known
  #colours = new Map(); // CSS classes, by name
  #processed = 0; // seconds; earlier partial results are outdated

  constructor() {
    for (const id of ["text", "notes"]) byId(id).replaceChildren();
    this.clearPartial();
  }

  // The text as it is copied.
  get lines() {
    return this.#segments.map(({ speaker, text }) => (speaker ? `${this.#name(speaker)}: ${text}` : text));
  }

  add({ segments, processed_seconds }) {
    this.#processed = processed_seconds;
    this.clearPartial();
    this.scrolling(() => segments.forEach((segment) => this.#line(segment)));
    this.#label();
  }

  // Applies what became known about the speakers of earlier segments; `names` are those of voices, by their ids.
  speakers({ turns, same, voices }, names) {
    this.#turns.push(...turns);
    for (const { speaker, is } of same) this.#same.set(speaker, is);
    for (const [speaker, { voice }] of Object.entries(voices)) {
      if (names.has(voice)) this.#names.set(speaker, names.get(voice));
      else if (voice === null) this.#names.delete(speaker);
    }
    for (const segment of this.#segments) segment.speaker = speakerOf(segment, turns);
    this.#label();
  }

  #line(segment) {
    const { start, text, language } = segment;
    const line = element("p", { lang: language ?? "" }, element("time", {}, clock(start)), " ", text);
    byId("text").append(line);
    this.#segments.push({ ...segment, speaker: speakerOf(segment, this.#turns), line });
  }

  // Writes the name of a speaker above the first of this speaker's consecutive lines, which have the colour of the speaker.
  #label() {
    let last = null;
    this.#colours.clear();
    for (const { speaker, line } of this.#segments) {
      const name = speaker ? this.#name(speaker) : last;
      line.className = this.#colour(name);
      const shown = line.querySelector("b");
      if (name === last) shown?.remove();
      else if (shown) setText(shown, name);
      else line.prepend(element("b", {}, name));
      last = name;
    }
  }

  // Speakers get their colours in the order of their first speech, as in a transcript.
  #colour(name) {
    if (name === null) return "";
    if (!this.#colours.has(name)) this.#colours.set(name, `s${(this.#colours.size % COLOURS) + 1}`);
    return this.#colours.get(name);
  }

  #name(speaker) {
    while (this.#same.has(speaker)) speaker = this.#same.get(speaker);
    return this.#names.get(speaker) ?? speaker;
  }

  // Shows a partial result: words that will not change, and the others in grey.
  partial({ start, stable, text, speaker }) {
    if (start < this.#processed) return;
    const last = this.#segments.at(-1)?.speaker;
    byId("partial").dataset.speaker = speaker && speaker !== last ? this.#name(speaker) : "";
    byId("partial").className = speaker ? this.#colours.get(this.#name(speaker)) ?? "" : "";
    const [firm, open] = byId("partial").children;
    this.scrolling(() => {
      firm.textContent = text.slice(0, stable.length);
      open.textContent = text.slice(stable.length);
      byId("partial").hidden = false;
    });
  }

  clearPartial() {
    byId("partial").hidden = true;
  }

  // Shows the result, which has the speakers and the untranscribed intervals.
  finish({ segments = [], speakers, voices, untranscribed = [], diarization_error }) {
    this.clearPartial();
    const isLate = segments.length > this.#segments.length; // the task ended before the last text came
    if (segments.length && (speakers !== null || isLate)) {
      byId("text").replaceChildren();
      [this.#segments, this.#turns] = [[], []];
      this.#names.clear();
      this.#same.clear();
      for (const [speaker, { voice, name }] of Object.entries(voices ?? {})) if (voice) this.#names.set(speaker, name);
      for (const segment of segments) this.#line(segment);
      this.#label();
    }
    for (const { start, end } of untranscribed) this.note(t("Speech without text from {start} to {end}", { start: clock(start), end: clock(end) }));
    if (diarization_error) this.note(t("The speakers were not detected: {reason}", { reason: diarization_error.message }));
  }

  note(words) {
    byId("notes").append(element("li", {}, words));
  }

  // Scrolls with the growing text, unless the user has scrolled up.
  scrolling(change) {
    const { scrollHeight } = document.documentElement;
    const isAtEnd = scrollY + innerHeight > scrollHeight - 100;
    change();
    if (isAtEnd) scrollTo(0, document.documentElement.scrollHeight);
  }
}

// The speaker of a segment: that of the last turn around its middle, else its own.
function speakerOf({ start, end, speaker }, turns) {
  const middle = (start + end) / 2;
  return turns.findLast((turn) => turn.start <= middle && middle < turn.end)?.speaker ?? speaker;
}
