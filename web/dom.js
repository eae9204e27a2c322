// Elements of the page. Whatever they are given becomes text, never HTML.
export const byId = (id) => document.getElementById(id);

export function element(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in node) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

// A screen reader announces each change of a live region, so an equal text is not set again.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Says what was done, for some seconds.
let cleared;
export function say(words) {
  setText(byId("said"), words);
  clearTimeout(cleared);
  cleared = setTimeout(() => setText(byId("said"), ""), 8000);
}

// Says above the page, until another one is opened, what has become of a task.
export function notice(...words) {
  byId("notice").replaceChildren(...words);
  byId("notice").hidden = !byId("notice").textContent;
}

export const clock = (seconds) => {
  const whole = Math.floor(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const tail = String(whole % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
};

// Downloads a file that was made in the page.
export function save(name, content, type) {
  const link = element("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser may still read it
}
