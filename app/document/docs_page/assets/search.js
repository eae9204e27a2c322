// Shows only the parts of the page that have all words of the search, and marks the words.
"use strict";

const search = document.querySelector("search");
const input = search.querySelector("input");
const parts = [...document.querySelectorAll("[data-find]")].map((part) => ({ part, text: part.textContent.toLowerCase() }));
const links = [...document.querySelectorAll("nav li")].map((item) => ({ item, id: item.firstChild.getAttribute("href").slice(1) }));
const opened = new Set(document.querySelectorAll("details[open]"));
let places = []; // the words that are found, in order
let shown = 0; // the number of the place that was shown last

function find() {
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const { part, text } of parts) part.hidden = !words.every((word) => text.includes(word));
  for (const { item, id } of links) item.hidden = document.getElementById(id).closest("[data-find]").hidden;
  const found = parts.filter(({ part }) => !part.hidden);
  document.getElementById("nothing").hidden = found.length > 0;
  document.body.classList.toggle("searching", words.length > 0);
  places = words.length ? found.flatMap(({ part }) => [...placesIn(part, words)]) : [];
  search.querySelector("output").textContent = words.length ? `${places.length} found` : "";
  CSS.highlights?.set("found", new Highlight(...places));
  open();
  show(0);
}

function* placesIn(part, words) {
  const texts = document.createTreeWalker(part, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.data.toLowerCase();
    for (const word of words) {
      for (let at = text.indexOf(word); at >= 0; at = text.indexOf(word, at + word.length)) {
        const range = document.createRange();
        range.setStart(texts.currentNode, at);
        range.setEnd(texts.currentNode, at + word.length);
        yield range;
      }
    }
  }
}

function open() {
  const elements = new Set(places.map((range) => range.startContainer.parentElement));
  for (const details of document.querySelectorAll("details")) {
    details.open = opened.has(details) || [...elements].some((element) => details.contains(element));
  }
}

function show(number) {
  shown = places.length ? number % places.length : 0;
  places[shown]?.startContainer.parentElement.scrollIntoView({ block: "center" });
}

search.hidden = false;
input.addEventListener("input", find);
input.addEventListener("keydown", (event) => event.key === "Enter" && show(shown + 1));
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target === input) return;
  event.preventDefault();
  input.focus();
});
document.querySelector("nav").addEventListener("click", (event) => event.target.closest("a") && event.currentTarget.hidePopover());
