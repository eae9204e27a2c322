// Shows a result as the service writes it for people, `--format html`, in a frame that plays the recording.
// The frame inherits the policy of the page, which names the page's own script and style by their hashes.
import { element } from "./dom.js";
import { labelOf, rename } from "./known.js";
import { findDuration, onPlayerKey } from "./player.js";
import { locale, t } from "./words.js";

// The page around the frame has the name of the recording already.
const INSIDE = `header { padding-top: 1rem } header > p:first-child, h1 { display: none } #speakers, .note { margin-top: 1rem }
  main { padding-top: 0 } #speakers b { min-width: 0; overflow-wrap: anywhere } @media (max-height: 25rem) { #player small { display: none } }`;

export class TranscriptFrame {
  #url; // of the transcript in the frame
  #printed; // a copy of the transcript, while it is printed

  constructor(frame) {
    this.frame = frame;
    addEventListener("beforeprint", () => this.#url && this.#copyForPrint());
    addEventListener("afterprint", () => this.#printed?.remove());
    onPlayerKey((event) => !this.frame.hidden && this.#passKey(event));
  }

  // `isTranslation`: whether the text is English, whatever language was spoken.
  async show(html, isTranslation) {
    this.hide();
    const url = (this.#url = URL.createObjectURL(new Blob([html], { type: "text/html" })));
    const frame = this.frame.cloneNode(); // another `src` for the same frame would be a step of its own for the Back button
    frame.src = url;
    const loaded = new Promise((done) => frame.addEventListener("load", done, { once: true }));
    this.frame.replaceWith(frame);
    this.frame = frame;
    await loaded;
    if (url !== this.#url) return; // it was hidden meanwhile
    frame.hidden = false;
    document.body.classList.add("reading");
    const { contentDocument, contentWindow } = frame;
    contentDocument.adoptedStyleSheets = [sheetOf(INSIDE, contentWindow)];
    if (isTranslation) this.#markTranslation();
    for (const type of ["dragover", "drop"]) contentDocument.addEventListener(type, passOn); // the browser would open the file
  }

  // The languages are those of the speech, and the text is English.
  #markTranslation() {
    const languages = new Intl.DisplayNames([locale], { type: "language", fallback: "code" });
    for (const node of this.#document.querySelectorAll("[data-language]:not([data-language=en])")) node.textContent = t("Translated from {language}", { language: languages.of(node.dataset.language) });
    for (const line of this.#document.querySelectorAll(".line p[lang]")) line.lang = "en";
  }

  // Gives the recording to the player, as its reader would choose it.
  play(recording) {
    const chosen = new DataTransfer();
    chosen.items.add(recording instanceof File ? recording : new File([recording], "recording"));
    findDuration(this.#document.querySelector("audio"));
    const input = this.#document.querySelector("#player input");
    input.files = chosen.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }

  // The speakers as the result has them, in the order of their first speech.
  get speakers() {
    return [...this.#document.querySelectorAll("#speakers b")].map(labelOf);
  }

  // How long a speaker speaks, as the transcript says it beside the name.
  secondsOf(speaker) {
    const row = [...this.#document.querySelectorAll("#speakers li")].find((row) => labelOf(row.querySelector("b")) === speaker);
    return row?.querySelector("span").textContent.split(" ")[0].split(":").reduce((whole, part) => 60 * whole + Number(part), 0);
  }

  rename(speaker, name) {
    for (const node of this.#document.querySelectorAll("#speakers b, .turn > h2")) rename(node, speaker, name);
  }

  // A key that is pressed beside the frame controls its player, too; returns whether it has.
  #passKey({ key, shiftKey }) {
    return !this.#document.body.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey, bubbles: true, cancelable: true }));
  }

  // Calls back with the name of a speaker that is clicked in the text or beside a timeline.
  onSpeaker(callback) {
    this.#document.addEventListener("click", ({ target }) => {
      const name = target.closest(".turn > h2, #speakers b");
      if (name) callback(labelOf(name));
    });
  }

  // A frame is cut off where a page of paper ends, so a copy of its content is printed, with its style.
  #copyForPrint() {
    const { body } = this.#document;
    const style = this.#document.querySelector("style").textContent.replace(/:root|\bhtml\b/g, ":host").replace(/\bbody\b/g, ".body");
    const parts = [...body.children].filter((part) => part.matches("header, main, footer")).map((part) => document.importNode(part, true));
    this.#printed = element("div", { id: "printed" });
    const root = this.#printed.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [sheetOf(style, window)];
    root.append(element("div", { className: `body ${body.className}` }, ...parts));
    document.body.append(this.#printed);
  }

  hide() {
    URL.revokeObjectURL(this.#url);
    this.#url = undefined;
    this.frame.hidden = true;
    document.body.classList.remove("reading");
  }

  get #document() {
    return this.frame.contentDocument;
  }
}

function sheetOf(style, { CSSStyleSheet }) {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(style);
  return sheet;
}

// A file that is dropped on the transcript is dropped on the page.
function passOn(event) {
  event.preventDefault();
  dispatchEvent(new DragEvent(event.type, { dataTransfer: event.dataTransfer, cancelable: true }));
}
