// Shows a result as the service writes it for people, `--format html`, in a frame that plays the recording.
// The frame inherits the policy of the page, which names the page's own script and style by their hashes.
export class TranscriptFrame {
  #url; // of the transcript in the frame

  constructor(frame) {
    this.frame = frame;
    addEventListener("beforeprint", () => this.#url && (this.frame.style.height = `${this.#document.documentElement.scrollHeight}px`));
    addEventListener("afterprint", () => (this.frame.style.height = ""));
  }

  async show(html) {
    this.hide();
    const url = (this.#url = URL.createObjectURL(new Blob([html], { type: "text/html" })));
    const frame = this.frame.cloneNode(); // another `src` for the same frame would be a step of its own for the Back button
    frame.src = url;
    const loaded = new Promise((done) => frame.addEventListener("load", done, { once: true }));
    this.frame.replaceWith(frame);
    this.frame = frame;
    await loaded;
    frame.hidden = url !== this.#url; // it may have been hidden meanwhile
  }

  // Gives the recording to the player, as its reader would choose it.
  play(recording) {
    const chosen = new DataTransfer();
    chosen.items.add(recording instanceof File ? recording : new File([recording], "recording"));
    const input = this.#document.querySelector("#player input");
    input.files = chosen.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }

  // The names of the speakers, in the order of their first speech.
  get speakers() {
    return [...this.#document.querySelectorAll("#speakers b")].map((name) => name.textContent);
  }

  // Calls back with the name of a speaker that is clicked in the text or beside a timeline.
  onSpeaker(callback) {
    this.#document.addEventListener("click", ({ target }) => {
      const name = target.closest(".turn > h2, #speakers b");
      if (name) callback(name.textContent);
    });
  }

  print() {
    this.frame.contentWindow.print();
  }

  hide() {
    URL.revokeObjectURL(this.#url);
    this.#url = undefined;
    this.frame.hidden = true;
  }

  get #document() {
    return this.frame.contentDocument;
  }
}
