// The list of tasks: newest first, by state and text, each with its address.
import { byId, clock, element, setText } from "./dom.js";
import { FirstWords } from "./first_words.js";
import { describe, share, stateName } from "./task_state.js";
import { nameOf } from "./tasks.js";
import { date, t } from "./words.js";

export class TaskList {
  #rows = new Map(); // by task id
  #words;

  constructor(tasks) {
    this.tasks = tasks;
    this.#words = new FirstWords(tasks, (id) => this.#rows.has(id) && this.#fill(this.#rows.get(id), tasks.byId.get(id)));
    tasks.addEventListener("list", () => this.#draw());
    tasks.addEventListener("change", ({ detail }) => this.#update(detail));
    for (const event of ["connected", "disconnected"]) tasks.connection.addEventListener(event, () => this.#draw());
    for (const id of ["filter", "filter-state"]) byId(id).addEventListener("input", () => this.#draw());
    byId("more-tasks").addEventListener("click", () => tasks.more());
  }

  #draw() {
    const shown = this.tasks.sorted.filter((task) => this.#isShown(task));
    for (const id of this.#rows.keys()) if (!this.tasks.byId.has(id)) this.#rows.delete(id);
    const rows = shown.map((task) => this.#row(task));
    const list = byId("tasks");
    rows.forEach((row, at) => list.children[at] !== row && list.insertBefore(row, list.children[at] ?? null));
    while (list.children.length > rows.length) list.lastChild.remove();
    setText(byId("no-tasks"), this.tasks.byId.size ? t("No task matches.") : byId("drop").hidden ? t("No tasks yet.") : t("No tasks yet: drop a recording above."));
    byId("no-tasks").hidden = rows.length > 0;
    byId("more-tasks").hidden = !this.tasks.moreBefore;
  }

  #isShown(task) {
    const state = byId("filter-state").value;
    const isInState = !state || task.state === state || (state === "active" && !["completed", "failed", "cancelled"].includes(task.state));
    return isInState && nameOf(task).toLowerCase().includes(byId("filter").value.trim().toLowerCase());
  }

  #update(id) {
    const task = this.tasks.byId.get(id);
    if (this.#rows.has(id) && this.#isShown(task) === Boolean(this.#rows.get(id).isConnected)) this.#fill(this.#rows.get(id), task);
    else this.#draw();
  }

  #row(task) {
    const known = this.#rows.get(task.task_id);
    if (known) return this.#fill(known, task);
    const row = element("li", {},
      element("a", { href: `#task/${task.task_id}` }, element("bdi")),
      element("span", { className: "state" }), element("p", { className: "about" }), element("p", { className: "words", dir: "auto" }),
      element("progress", { max: 1, ariaLabel: t("Progress") }), element("p", { className: "when" }, element("span", { className: "length" }), element("time")));
    row.dataset.task = task.task_id;
    this.#rows.set(task.task_id, row);
    return this.#fill(row, task);
  }

  #fill(row, task) {
    const [link, state, about, words, progress, when] = row.children;
    row.dataset.state = task.state;
    setText(link.firstChild, nameOf(task));
    link.title = link.textContent; // a long one is cut off
    setText(state, stateName(task));
    setText(about, describe(task, this.tasks.connection.isConnected));
    setText(words, this.#words.of(task.task_id));
    if (task.state === "completed") this.#words.watch(row);
    const part = share(task);
    progress.hidden = part === null;
    progress.value = part ?? 0;
    setText(when.firstChild, task.duration_seconds ? clock(task.duration_seconds) : "");
    setText(when.lastChild, date(task.created_at));
    return row;
  }
}
