// The form with the options of a task; they are remembered for the next visit, but for those that concern one recording.
import { byId, setText } from "./dom.js";
import { t } from "./words.js";

const STORED = "natscribe.options";
const OF_ONE_RECORDING = ["start", "keep"];
const LANGUAGES = ["ar", "cs", "de", "el", "en", "es", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "ko", "nl", "no", "pl", "pt", "ro", "ru", "sv", "tr", "uk", "vi", "zh"];
const number = (text) => (text ? Number(text) : null);

// Adds the languages to a select, each by its own name.
export function fillLanguages(select) {
  for (const code of LANGUAGES) select.append(new Option(new Intl.DisplayNames([code], { type: "language" }).of(code), code));
}

export class Options {
  constructor(form) {
    this.form = form;
    fillLanguages(form.elements.language);
    const remembered = JSON.parse(localStorage.getItem(STORED) ?? "{}");
    for (const field of form.elements) {
      if (!(field.name in remembered) || OF_ONE_RECORDING.includes(field.name)) continue;
      if (field.type === "checkbox") field.checked = remembered[field.name];
      else field.value = remembered[field.name];
    }
    form.addEventListener("change", () => this.#changed());
    byId("reset-options").addEventListener("click", () => this.#reset());
    this.#changed();
  }

  get isValid() {
    return this.form.checkValidity();
  }

  // The fields of a task, and its priority; undefined if a field is not valid, which the browser then shows.
  read() {
    if (!this.isValid) {
      location.hash = "#";
      this.form.closest("section").hidden = false;
      this.form.querySelector("details").open = true; // the browser shows only fields that are visible
      this.form.reportValidity();
      return undefined;
    }
    const { language, diarize, identify, translate, vocabulary, channels, numbers, redact, min, max, prompt, model, keep, priority, start } = this.form.elements;
    const given = {
      language: language.value || null,
      diarize: diarize.checked,
      identify: diarize.checked && identify.checked,
      translate: translate.checked,
      vocabulary: vocabulary.value.split(/[\n,;]/).map((word) => word.trim()).filter(Boolean),
      channels: channels.value,
      numbers: numbers.value,
      redact: redact.value ? { entities: [redact.value] } : null,
      min_speakers: number(min.value),
      max_speakers: number(max.value),
      prompt: prompt.value.trim() || null,
      model: model.value.trim() || null,
      keep_seconds: number(keep.value),
      not_before: start.value ? new Date(start.value).toISOString() : null,
    };
    const unset = [null, false, "auto", "as_is"];
    const fields = Object.entries(given).filter(([, value]) => !unset.includes(value) && value?.length !== 0);
    return { ...Object.fromEntries(fields), word_timestamps: true, priority: priority.value };
  }

  #changed() {
    const { diarize, identify, min, max, vocabulary } = this.form.elements;
    identify.disabled = !diarize.checked;
    max.setCustomValidity(min.value && max.value && Number(max.value) < Number(min.value) ? t("“Speakers, at most” cannot be less than “Speakers, at least”.") : "");
    const words = vocabulary.value.split(/[\n,;]/).map((word) => word.trim());
    const isTooLong = words.length > 100 || words.some((word) => word.length > 60);
    vocabulary.setCustomValidity(isTooLong ? t("Up to 100 words or names of 60 characters each.") : "");
    const fields = [...this.form.elements].filter(({ name }) => name && !OF_ONE_RECORDING.includes(name));
    localStorage.setItem(STORED, JSON.stringify(Object.fromEntries(fields.map((field) => [field.name, field.type === "checkbox" ? field.checked : field.value]))));
    this.#showSet();
  }

  get #folded() {
    return [...this.form.querySelectorAll("details :is(input, select)")];
  }

  // Names beside the folded options those that are set.
  #showSet() {
    const set = this.#folded.filter((field) => field.value !== (field.options?.[0].value ?? ""));
    setText(byId("options-set"), set.length ? `: ${set.map((field) => field.labels[0].firstElementChild.textContent).join("; ")}` : "");
    byId("reset-options").hidden = set.length === 0;
  }

  #reset() {
    for (const field of this.#folded) field.value = field.options?.[0].value ?? "";
    this.form.querySelector("summary").focus(); // the button is hidden then
    this.form.dispatchEvent(new Event("change"));
  }
}
