// The text on the page: what stays, and what is being said. All of it is inserted as text.
const place = (id) => document.getElementById(id);

export const clock = (seconds) => {
  const whole = Math.floor(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const tail = String(whole % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
};

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

export class Transcript {
  constructor() {
    this.lines = []; // of the text as it is copied
    this.processed = 0; // seconds; partials of what is before are over
    for (const id of ["text", "notes"]) place(id).replaceChildren();
    this.clearPartial();
  }

  add({ segments, processed_seconds }) {
    this.processed = processed_seconds;
    this.clearPartial();
    this.scrolling(() => segments.forEach((segment) => this.line(segment)));
  }

  line({ start, text, speaker, language }, hasNewSpeaker = Boolean(speaker)) {
    const line = document.createElement("p");
    if (language) line.lang = language;
    if (hasNewSpeaker) line.append(element("b", speaker));
    line.append(element("time", clock(start)), " ", text);
    place("text").append(line);
    this.lines.push(speaker ? `${speaker}: ${text}` : text);
  }

  // Shows the words that stay firm, and the others grey.
  partial({ start, stable, text }) {
    if (start < this.processed) return;
    const [firm, open] = place("partial").children;
    this.scrolling(() => {
      firm.textContent = text.slice(0, stable.length);
      open.textContent = text.slice(stable.length);
      place("partial").hidden = false;
    });
  }

  clearPartial() {
    place("partial").hidden = true;
  }

  // The result has the speakers, and tells what could not be read.
  finish({ segments = [], speakers, untranscribed = [], diarization_error }) {
    this.clearPartial();
    if (speakers !== null && segments.length) {
      place("text").replaceChildren();
      this.lines = [];
      let last;
      for (const segment of segments) {
        this.line(segment, segment.speaker !== last);
        last = segment.speaker;
      }
    }
    for (const { start, end } of untranscribed) this.note(`Speech without text from ${clock(start)} to ${clock(end)}`);
    if (diarization_error) this.note(`The speakers were not found: ${diarization_error.message}`);
  }

  note(words) {
    place("notes").append(element("li", words));
  }

  // Follows the text as it grows, unless its reader has scrolled up.
  scrolling(change) {
    const { scrollHeight } = document.documentElement;
    const isAtEnd = scrollY + innerHeight > scrollHeight - 100;
    change();
    if (isAtEnd) scrollTo(0, document.documentElement.scrollHeight);
  }
}
