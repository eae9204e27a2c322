// What this browser remembers of tasks and recordings: the names of files as they were chosen, by `audio_file_id`, and
// the names that speakers have got since the result was written, by task id.
const STORED = "natscribe.known";
const KEPT = 500; // entries, the newest
const ESCAPED = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

const storage = globalThis.localStorage;
const read = () => new Map(JSON.parse(storage?.getItem(STORED) ?? "[]"));
let entries = read();
globalThis.addEventListener?.("storage", ({ key }) => key === STORED && (entries = read()));

export const knownOf = (key) => entries.get(key) ?? {};

export function remember(key, changes) {
  const entry = { ...knownOf(key), ...changes };
  entries.delete(key);
  entries.set(key, entry);
  if (entries.size > KEPT) entries.delete(entries.keys().next().value);
  store();
}

// Gives a speaker of a task a name; an empty one is taken back.
export function nameSpeaker(taskId, speaker, name) {
  const { [speaker]: _, ...names } = knownOf(taskId).names ?? {};
  remember(taskId, { names: name ? { ...names, [speaker]: name } : names });
}

export function forget(...keys) {
  if (keys.map((key) => entries.delete(key)).includes(true)) store();
}

const store = () => storage?.setItem(STORED, JSON.stringify([...entries]));

// A result as text, with the names that speakers have got since it was written.
export function withNames(text, format, names = {}) {
  const write = ["html", "vtt"].includes(format) ? (name) => name.replace(/[&<>"]/g, (character) => ESCAPED[character]) : (name) => name;
  return text.replace(/\bSPEAKER_\d+\b/g, (label) => (Object.hasOwn(names, label) ? write(names[label]) : label));
}

// An element with the name of a speaker keeps the label that the result has: two speakers may get the same name.
export const labelOf = ({ dataset, textContent }) => dataset.label ?? textContent;

export function rename(node, speaker, name) {
  if (labelOf(node) !== speaker) return;
  node.dataset.label = speaker;
  node.textContent = name;
}
