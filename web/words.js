// The words of the page in the language of the browser. The beginning of the English sentence is the key of its translation.
export const locale = navigator.languages.map((code) => code.slice(0, 2)).find((code) => ["en", "ru"].includes(code)) ?? "en";
const KEY_CHARS = 40;
const { default: words } = locale === "ru" ? await import("./ru.js") : { default: {} };

// Translates a sentence; {name} in it is replaced by the value of that name.
export function t(sentence, values = {}) {
  return (words[sentence.slice(0, KEY_CHARS)] ?? sentence).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

const BY_CODE = { unknown_model: "The service does not offer this model. Transcribe without naming one, or name another one under “More options”." };

// An error of the service in one sentence of the page's language; else that of the service, which is English.
export const explain = ({ code, message }) => words[code] ?? BY_CODE[code] ?? message;

// What the service has said, if the page says it in other words.
export const original = (error) => (explain(error) === error.message ? "" : error.message);

// Translates the texts and labels that the document marks with `data-t`.
export function translate(root) {
  document.documentElement.lang = locale;
  for (const node of root.querySelectorAll("[data-t]")) node.textContent = t(node.textContent);
  for (const name of ["aria-label", "placeholder", "title"]) {
    for (const node of root.querySelectorAll(`[${name}]`)) node.setAttribute(name, t(node.getAttribute(name)));
  }
}

const SIZES = ["byte", "kilobyte", "megabyte", "gigabyte"];
export function size(bytes) {
  const step = Math.min(SIZES.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3));
  return new Intl.NumberFormat(locale, { style: "unit", unit: SIZES[step], maximumFractionDigits: step > 1 ? 1 : 0 }).format(bytes / 1000 ** step);
}

export const percent = (share) => share.toLocaleString(locale, { style: "percent" });

const dates = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
export const date = (text) => dates.format(new Date(text));
