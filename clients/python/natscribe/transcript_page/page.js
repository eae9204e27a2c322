// Plays the recording: lights what is spoken, and plays from where a person clicks.
"use strict";

const audio = document.querySelector("audio");
const bar = document.getElementById("player");
const follow = document.getElementById("follow");
const lanes = document.getElementById("speakers");
const still = matchMedia("(prefers-reduced-motion: reduce)");
const lines = [...document.querySelectorAll("[data-t]")].map(read).sort((one, other) => one.starts[0] - other.starts[0]);
const lineOf = new Map(lines.map((line) => [line.element, line]));
let lit = []; // elements
let isFollowing = true; // whether the page scrolls to what is spoken

let reach = 0; // the latest end of this line and all before it, in hundredths of a second like all times of lines
for (const line of lines) line.reach = reach = Math.max(reach, line.end);

function read(element) {
  const starts = element.dataset.t.split(" ").map(Number);
  for (let at = 1; at < starts.length; at++) starts[at] += starts[at - 1];
  return { element, end: starts.pop(), starts };
}

// The number of values that are not above the limit; the values are sorted.
function notAbove(limit, count, valueAt) {
  let low = 0;
  for (let high = count; low < high; ) {
    const middle = (low + high) >> 1;
    if (valueAt(middle) <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

function spokenAt(now) {
  const spoken = [];
  for (let at = notAbove(now, lines.length, (at) => lines[at].starts[0]) - 1; at >= 0 && lines[at].reach > now; at--) {
    const { element, starts, end } = lines[at];
    if (end > now) spoken.push(element.children[notAbove(now, starts.length, (at) => starts[at]) - 1]);
  }
  return spoken;
}

function light() {
  const spoken = spokenAt(audio.currentTime * 100);
  const isNew = spoken.length > 0 && spoken[0] !== lit[0];
  for (const element of lit) if (!spoken.includes(element)) element.classList.remove("lit");
  for (const element of spoken) element.classList.add("lit");
  lit = spoken;
  if (isNew && isFollowing) show(lit[0]);
  movePlayhead();
}

function show(element) {
  const { top, bottom } = element.getBoundingClientRect();
  if (top > innerHeight * .1 && bottom < innerHeight * .75) return;
  element.scrollIntoView({ block: "center", behavior: still.matches ? "auto" : "smooth" });
}

function frame() {
  light();
  if (!audio.paused) requestAnimationFrame(frame);
}

let head = -1;
function movePlayhead() {
  const place = lanes ? Math.round((audio.currentTime / Number(lanes.dataset.seconds)) * 2000) : -1;
  if (place === head) return;
  head = place;
  for (const line of lanes.querySelectorAll("line")) {
    line.setAttribute("x1", place);
    line.setAttribute("x2", place);
  }
}

function playFrom(seconds) {
  setFollowing(true);
  audio.currentTime = seconds;
  audio.play().catch(() => {}); // the error event says more
}

function setFollowing(wanted) {
  isFollowing = wanted;
  follow.hidden = wanted || audio.paused;
}

function setPlayable(isPlayable) {
  document.body.classList.toggle("playable", isPlayable);
  audio.hidden = !isPlayable;
  bar.querySelector("label").hidden = isPlayable;
  bar.querySelector("small").hidden = !isPlayable;
  bar.hidden = false;
}

// A paragraph forward or back.
function step(by) {
  const at = notAbove(audio.currentTime * 100 + 1, lines.length, (at) => lines[at].starts[0]) - 1;
  const line = lines[Math.min(Math.max(at + by, 0), lines.length - 1)];
  if (line) audio.currentTime = line.starts[0] / 100;
}

const keys = {
  " ": () => (audio.paused ? playFrom(audio.currentTime) : audio.pause()),
  ArrowLeft: ({ shiftKey }) => (shiftKey ? step(-1) : (audio.currentTime -= 5)),
  ArrowRight: ({ shiftKey }) => (shiftKey ? step(1) : (audio.currentTime += 5)),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("audio, button, input")) return;
  if (["PageUp", "PageDown", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) setFollowing(false);
  if (!document.body.classList.contains("playable") || !(event.key in keys)) return;
  event.preventDefault();
  keys[event.key](event);
});
for (const name of ["wheel", "touchmove"]) addEventListener(name, () => setFollowing(false), { passive: true });

document.querySelector("main").addEventListener("click", (event) => {
  if (!document.body.classList.contains("playable") || !getSelection().isCollapsed) return;
  const link = event.target.closest(".line a");
  const word = event.target.closest("[data-t] > span");
  const line = lineOf.get(link ? link.closest(".line").querySelector("p") : word?.parentElement);
  if (!line) return;
  event.preventDefault();
  playFrom(line.starts[word ? [...line.element.children].indexOf(word) : 0] / 100);
});

lanes?.addEventListener("click", (event) => {
  const lane = event.target.closest("svg");
  if (!lane || !document.body.classList.contains("playable")) return;
  const { left, width } = lane.getBoundingClientRect();
  playFrom(((event.clientX - left) / width) * Number(lanes.dataset.seconds));
});
for (const lane of lanes?.querySelectorAll("svg") ?? []) {
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  for (const [name, value] of Object.entries({ x1: -9, x2: -9, y1: 0, y2: 10 })) line.setAttribute(name, value);
  lane.append(line);
}

audio.addEventListener("play", () => {
  setFollowing(true);
  frame();
});
audio.addEventListener("pause", () => setFollowing(isFollowing));
for (const name of ["seeked", "timeupdate"]) audio.addEventListener(name, light);
audio.addEventListener("error", () => {
  bar.querySelector("label span").textContent = own("The recording cannot be played from its place. Choose it to listen:");
  setPlayable(false);
});
bar.querySelector("input").addEventListener("change", ({ target }) => {
  if (!target.files.length) return;
  audio.src = URL.createObjectURL(target.files[0]);
  setPlayable(true);
});
follow.addEventListener("click", () => {
  setFollowing(true);
  if (lit[0]) show(lit[0]);
});

setPlayable(audio.hasAttribute("src") && !audio.error);
const locale = navigator.languages.map((code) => code.slice(0, 2)).find((code) => ["en", "ru"].includes(code)) ?? "en";
const names = new Intl.DisplayNames([locale], { type: "language", fallback: "code" });
for (const element of document.querySelectorAll("[data-language]")) element.textContent = names.of(element.dataset.language);

// The page's own texts in Russian; $1 is the number or time in the English text.
const RUSSIAN = [
  [/^Transcript$/, "Расшифровка"],
  [/^Who speaks when$/, "Кто когда говорит"],
  [/^(\d+) speakers?$/, "говорящих: $1"],
  [/^(\d+) channels$/, "каналов: $1"],
  [/^Unknown speaker$/, "Неизвестный говорящий"],
  [/^No speech detected\.$/, "Речь не найдена."],
  [/^Not transcribed:$/, "Не расшифровано:"],
  [/^Not transcribed until ([\d:]+)$/, "Не расшифровано до $1"],
  [/^speaks for ([\d.]+) seconds$/, "говорит $1 с"],
  [/^The model is less than (\d+%) sure of$/, "Модель уверена меньше чем на $1 в словах"],
  [/^dotted$/, "с точками"],
  [/^words, and less than (\d+%) sure of$/, "и меньше чем на $1 в словах"],
  [/^dashed$/, "со штрихами"],
  [/^ones\.$/, "под ними."],
  [/^(<?\d+%) sure$/, "уверенность $1"],
  [/^Model$/, "Модель"],
  [/^Made$/, "Создано"],
  [/^Recording$/, "Запись"],
  [/^SHA-256 of the recording$/, "SHA-256 записи"],
  [/^Task$/, "Задача"],
  [/^Choose the recording to listen:$/, "Чтобы слушать, выберите запись:"],
  [/^The recording cannot be played from its place\. Choose it to listen:$/, "Запись не воспроизводится со своего места. Чтобы слушать, выберите её:"],
  [/^Back to what is spoken$/, "К тому, что звучит"],
  [/^Space plays and pauses.*$/, "Пробел включает и останавливает, ← и → переходят на 5 секунд, с Shift на абзац. Щелчок по слову включает запись с него."],
];
const OWN = "header > p, .facts li, .note, .note span, .nothing, .gap span, .brief span, footer dt, #player :is(span, button, small)"; // never speech

function russian(text) {
  const words = text.trim();
  const date = /^\d{1,2} [A-Z][a-z]+ \d{4}(, \d\d:\d\d)?/.test(words) && new Date(`${words.replace(/ UTC$/, "")} UTC`);
  if (date) return new Intl.DateTimeFormat("ru", { dateStyle: "long", timeStyle: words.includes(":") ? "short" : undefined, timeZone: "UTC" }).format(date) + (words.endsWith("UTC") ? " UTC" : "");
  const [says, means] = RUSSIAN.find(([says]) => says.test(words)) ?? [words, words];
  return words && text.replace(words, () => words.replace(says, means));
}

const own = (text) => (locale === "ru" ? russian(text) : text);
if (locale === "ru") {
  document.documentElement.lang = "ru";
  for (const element of document.querySelectorAll("[title]")) element.title = russian(element.title);
  const parts = [...document.querySelectorAll(`${OWN}, footer time`), ...[...document.querySelectorAll(".turn > h2")].filter((name) => name.textContent === "Unknown speaker")];
  for (const node of parts.flatMap((element) => [...element.childNodes])) if (node.nodeType === Node.TEXT_NODE) node.data = russian(node.data) || node.data;
}
