// How the texts of tasks begin, for the rows of the list that are in sight. Nothing of it is stored in the browser.
const AT_ONCE = 2; // requests
const MAX_CHARS = 160;

export class FirstWords {
  #texts = new Map(); // by task id; empty while they are requested, and if there are none
  #due = []; // ids of tasks
  #active = 0;
  #isRefused = false;
  #sight = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) this.#request(target);
  });

  // `show` is called with the id of a task when its first words have come.
  constructor(tasks, show) {
    this.tasks = tasks;
    this.show = show;
  }

  of(id) {
    return this.#texts.get(id) ?? "";
  }

  // Requests the words of the task `row.dataset.task` when its row comes into sight.
  watch(row) {
    if (!this.#texts.has(row.dataset.task) && !this.#isRefused) this.#sight.observe(row);
  }

  #request(row) {
    this.#sight.unobserve(row);
    this.#texts.set(row.dataset.task, "");
    this.#due.push(row.dataset.task);
    this.#next();
  }

  async #next() {
    if (this.#active >= AT_ONCE || !this.#due.length) return;
    this.#active++;
    const id = this.#due.shift();
    try {
      this.#texts.set(id, (await this.tasks.beginning(id)).slice(0, MAX_CHARS));
      this.show(id);
    } catch (error) {
      this.#texts.delete(id); // the next change of the list requests them again
      this.#isRefused ||= [error.name, error.cause?.name].includes("PermissionViolationError");
    }
    this.#active--;
    this.#next();
  }
}
