// Shows the final text and the partial results. All of it is inserted as text, never as HTML.
import { byId, clock, element } from "./dom.js";
import { t } from "./words.js";

export class Transcript {
  constructor() {
    this.lines = []; // of the text as it is copied
    this.processed = 0; // seconds; earlier partial results are outdated
    this.speaker = null; // of the last line
    for (const id of ["text", "notes"]) byId(id).replaceChildren();
    this.clearPartial();
  }

  add({ segments, processed_seconds }) {
    this.processed = processed_seconds;
    this.clearPartial();
    this.scrolling(() => segments.forEach((segment) => this.line(segment)));
  }

  line({ start, text, speaker, language }) {
    const hasNewSpeaker = speaker && speaker !== this.speaker;
    this.speaker = speaker ?? this.speaker;
    const line = document.createElement("p");
    if (language) line.lang = language;
    if (hasNewSpeaker) line.append(element("b", {}, speaker));
    line.append(element("time", {}, clock(start)), " ", text);
    byId("text").append(line);
    this.lines.push(speaker ? `${speaker}: ${text}` : text);
  }

  // Shows a partial result: words that will not change, and the others in grey.
  partial({ start, stable, text, speaker }) {
    if (start < this.processed) return;
    byId("partial").dataset.speaker = speaker && speaker !== this.speaker ? speaker : "";
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
  finish({ segments = [], speakers, untranscribed = [], diarization_error }) {
    this.clearPartial();
    if (speakers !== null && segments.length) {
      byId("text").replaceChildren();
      [this.lines, this.speaker] = [[], null];
      for (const segment of segments) this.line(segment);
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
