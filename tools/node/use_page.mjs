// Uses the page in Chromium as a person would, and reports as JSON what was observed:
// node use_page.mjs CHROMIUM FOLDER OPTIONS VISIT; OPTIONS as JSON, as tests/e2e/web_page.py gives them
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism, loadavg } from "node:os";
import { basename } from "node:path";
import { picture, start } from "./browser.mjs";
import { proxy } from "./proxy.mjs";

const [executablePath, folder, given, visit] = process.argv.slice(2);
const options = JSON.parse(given);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf-8");
const browser = await start(executablePath, [
  "--use-fake-device-for-media-stream",
  "--use-fake-ui-for-media-stream",
  ...(options.audio ? [`--use-file-for-fake-audio-capture=${options.audio}%noloop`] : []),
  ...(options.accept ? [`--accept-lang=${options.accept}`] : []),
]);
const seen = { requested: browser.requested, complaints: browser.complaints, violations: [] };
// What happens in a second may take minutes while other processes use the processors.
const WITHIN = { timeout: 90_000 * Math.min(Math.max(loadavg()[0] / availableParallelism(), 1), 2.5) };

// Waits until the page has started, and is connected: before, nothing that is done there has an effect.
const isConnected = (page) => page.waitForFunction(() => document.getElementById("link").textContent && !document.body.classList.contains("offline"), WITHIN);
const open = async (more) => {
  const page = await browser.visit(options.page, more);
  await isConnected(page);
  return page;
};
const text = (page, selector) => page.$eval(selector, (element) => element.textContent);
const texts = (page, selector) => page.$$eval(selector, (elements) => elements.map((element) => element.textContent));
const isShown = (page, selector) => page.waitForSelector(selector, { visible: true, ...WITHIN });

// Waits until an element has these words, or any, and returns its text at that moment: it may change at once.
async function says(page, selector, words = "") {
  const textWith = (selector, words) => {
    const { textContent = "" } = document.querySelector(selector) ?? {};
    return textContent.includes(words) && textContent;
  };
  return (await page.waitForFunction(textWith, WITHIN, selector, words)).jsonValue();
}

// Notes from now on what the main threads of pages do. CPU time, since on a busy machine a task of any length takes long.
const watchTasks = (page) => page.tracing.start({ categories: ["toplevel"] });

// Milliseconds of CPU time of the longest tasks of a main thread, the longest first.
async function longestTasks(page) {
  const { traceEvents } = JSON.parse(new TextDecoder().decode(await page.tracing.stop()));
  const threadOf = ({ pid, tid }) => `${pid}/${tid}`;
  const main = new Set(traceEvents.filter(({ name, args }) => name === "thread_name" && args.name === "CrRendererMain").map(threadOf));
  const tasks = traceEvents.filter((event) => event.name === "ThreadControllerImpl::RunTask" && main.has(threadOf(event)));
  return tasks.map(({ tdur = 0 }) => tdur / 1000).sort((one, other) => other - one);
}
const longestTask = async (page) => (await longestTasks(page))[0] ?? 0;

async function choose(page, ...files) {
  await (await page.$("#files")).uploadFile(...files);
}

// Drops files on an element, as from another program.
async function drop(page, selector, ...files) {
  const { x, y, width, height } = await (await page.$(selector)).boundingBox();
  const session = await page.createCDPSession();
  const data = { items: [], files, dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "drop"]) await session.send("Input.dispatchDragEvent", { type, x: x + width / 2, y: y + height / 2, data });
}

// Opens another page by its address; the page itself has been told of it first.
const goTo = (page, address) =>
  page.evaluate((address) => new Promise((done) => {
    addEventListener("hashchange", done, { once: true });
    location.hash = address;
  }), address);
const go = (page, task) => goTo(page, `#task/${task}`);

// Takes a picture of a state, and looks for what keeps people out of it.
async function inspect(page, name) {
  await picture(page, `${folder}/${name}.webp`);
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run({ exclude: ["iframe"] }));
  seen.violations.push(...violations.map(({ id, nodes }) => `${name}: ${id}: ${nodes[0].html}`));
  return page.evaluate(() => document.documentElement.scrollWidth);
}

// What somebody reads when a task has ended.
async function transcript(page) {
  await isShown(page, "#transcript");
  const frame = await (await page.$("#transcript")).contentFrame();
  await frame.waitForSelector("body.playable", WITHIN);
  return {
    speakers: await frame.$$eval("#speakers b", (names) => names.map((name) => name.textContent)),
    lines: await frame.$$eval(".line p", (lines) => lines.map((line) => line.textContent)),
    audio: await frame.$eval("audio", (audio) => audio.src.slice(0, 5)),
  };
}

const until = async (condition) => {
  const end = Date.now() + WITHIN.timeout;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not within ${WITHIN.timeout} ms: ${condition}`);
    await new Promise((done) => setTimeout(done, 20));
  }
};

// Connects the page by a network that can break. The page stays connected until its earlier connection is closed.
async function behind(network, page) {
  await page.evaluate((server) => (document.getElementById("server").value = server), network.address);
  await page.$eval("#connection-form button", (button) => button.click());
  await until(() => network.connections());
  await isConnected(page);
}

// A connection that is lost for seconds while a task runs.
async function lost() {
  const network = await proxy(options.websocket);
  const page = await open();
  await behind(network, page);
  await choose(page, options.file);
  await isShown(page, "#task-text p");
  network.break();
  await says(page, "#link", "Not connected");
  await new Promise((done) => setTimeout(done, 1000 * options.seconds));
  network.restore();
  const observed = await transcript(page);
  await page.close();
  network.close();
  return observed;
}

// A recording, from its upload to its transcript, and once more after a reload.
async function recording() {
  const page = await open(options.more);
  const observed = { widths: [await inspect(page, `${options.name}-start`)] };
  const began = Date.now();
  await choose(page, options.file);
  await isShown(page, "#task-text p, #transcript");
  observed.firstText = Date.now() - began;
  observed.widths.push(await inspect(page, `${options.name}-running`));
  Object.assign(observed, await transcript(page));
  observed.widths.push(await inspect(page, `${options.name}-done`));
  await page.reload();
  observed.again = await transcript(page);
  observed.names = await texts(page, "#speaker-names li");
  const task = await page.evaluate(() => location.hash);
  for (const address of ["#", task]) await goTo(page, address);
  await transcript(page);
  await page.evaluate(() => history.back());
  await page.waitForFunction(() => !document.getElementById("recordings").hidden, WITHIN);
  await page.close();
  return observed;
}

// The page of a task that has ended, whose tasks of the main thread are noted.
async function openTask(slowness = 1) {
  const page = await open();
  await (await page.createCDPSession()).send("Emulation.setCPUThrottlingRate", { rate: slowness });
  await watchTasks(page);
  await page.evaluate(() => (navigator.clipboard.writeText = async (text) => (window.copied = text)));
  await go(page, options.task);
  return page;
}

// What the Copy button gives.
async function copied(page) {
  await page.click("#copy-text");
  await says(page, "#said", "Copied");
  return page.evaluate(() => window.copied);
}

// Chooses a format in the menu, which closes then.
async function download(page, format) {
  await page.click("#result .menu");
  await page.click(`#formats [value=${format}]`);
  await page.waitForFunction(() => !document.querySelector("#formats:popover-open"), WITHIN);
}

// The transcript of a task that has ended, and its recording.
async function read() {
  const page = await openTask();
  await isShown(page, "#transcript");
  const frame = await (await page.$("#transcript")).contentFrame();
  await frame.waitForSelector("body.playable", WITHIN);
  const observed = { blocked: await longestTask(page) };
  observed.copied = await copied(page);
  await page.evaluate(() => {
    window.saved = {};
    let content;
    const { createObjectURL } = URL;
    URL.createObjectURL = (blob) => createObjectURL.call(URL, (content = blob));
    HTMLAnchorElement.prototype.click = async function () { window.saved[this.download] = await content.slice(0, 100).text(); };
  });
  for (const format of options.formats) await download(page, format);
  await page.waitForFunction((count) => Object.keys(window.saved).length === count, WITHIN, options.formats.length);
  observed.saved = await page.evaluate(() => window.saved);
  await frame.click(".turn > h2");
  await isShown(page, "#enrol");
  observed.asked = await text(page, "#enrol-title");
  await page.keyboard.press("Escape");
  Object.assign(observed, await transcript(page));
  // The chunks of the recording are one row of the drawer.
  await page.click(".back a");
  await page.click("#inspect");
  const rows = await page.$$("#message-list details");
  const titles = await Promise.all(rows.map((row) => row.$eval("summary", (summary) => summary.textContent)));
  const reads = titles.filter((title) => title.includes("STREAM.MSG.GET.OBJ_audio request") && title.includes("×"));
  await rows[titles.indexOf(reads[0])].$eval("summary", (summary) => summary.click());
  await page.waitForSelector("#message-list [open] button", WITHIN);
  await page.click("#message-list [open] button");
  await says(page, "#said", "Copied");
  return { ...observed, reads, command: await page.evaluate(() => window.copied) };
}

// A transcript whose recording is loaded by a slow machine: how long the page is blocked again and again, not just once.
async function slowly() {
  const page = await openTask(options.slowness);
  await transcript(page);
  return { blocked: (await longestTasks(page))[options.nth] };
}

// A transcript that is too large for a message, and what can be done with it.
async function large() {
  const page = await openTask();
  await isShown(page, "#long-transcript audio");
  const observed = { speakers: await texts(page, "#speaker-names li") };
  observed.blocked = await longestTask(page);
  observed.lines = await page.evaluate(() => [...document.querySelectorAll("#long-transcript p")].map((line) => line.lastChild.textContent));
  observed.copied = await copied(page);
  observed.pages = pages(await page.pdf());
  await page.evaluate(() => {
    const [audio, lines] = ["audio", ".lines"].map((part) => document.querySelector(`#long-transcript ${part}`));
    audio.addEventListener("seeking", () => (window.playedFrom = audio.currentTime), { once: true });
    new MutationObserver(([{ target }]) => (window.marked ??= [...lines.children].indexOf(target))).observe(lines, { subtree: true, attributeFilter: ["aria-current"] });
  });
  await page.click(`#long-transcript p:nth-child(${options.line + 1})`);
  await page.waitForFunction(() => window.marked !== undefined, WITHIN);
  Object.assign(observed, await page.evaluate(() => ({ playedFrom: window.playedFrom, marked: window.marked })));
  await page.keyboard.press("Space");
  await page.waitForFunction(() => document.querySelector("#long-transcript audio").paused, WITHIN);
  await page.evaluate(() => document.querySelectorAll("#long-transcript p:nth-child(n + 20)").forEach((line) => line.remove())); // axe takes minutes for all
  await inspect(page, "large");
  await page.click("#result .menu");
  await inspect(page, "menu");
  await page.keyboard.press("Escape");
  await download(page, "srt");
  observed.problem = await says(page, "#task-problem");
  return observed;
}

// The microphone, and the transcript to which it leads.
async function live() {
  const page = await open();
  await page.click("#to-live");
  await page.click("#live #speakers");
  await inspect(page, "live-start");
  await page.click("#record");
  await page.waitForFunction(() => document.querySelectorAll("#text p").length > 1, WITHIN);
  await inspect(page, "live");
  // On another page a link says that it goes on.
  await page.click("#to-recordings");
  await isShown(page, "#recording-now");
  const observed = { now: await text(page, "#recording-now") };
  await inspect(page, "live-elsewhere");
  observed.progress = await page.$$eval("#tasks progress:not([hidden])", (shown) => shown.length);
  await page.click("#recording-now");
  await page.waitForFunction((seconds) => parseInt(document.getElementById("lag").textContent.split(":")[1]) >= seconds, WITHIN, options.seconds);
  await page.$eval("#record", (button) => button.click()); // it moves while the text grows
  await isShown(page, "#to-transcript");
  observed.isOver = await page.$eval("#recording-now", (link) => link.hidden);
  await page.click("#to-transcript a");
  Object.assign(observed, await transcript(page));
  // Its player knows how long it is, and the drawer has its audio in one row.
  const frame = await (await page.$("#transcript")).contentFrame();
  await frame.waitForFunction(() => Number.isFinite(document.querySelector("audio").duration) && document.querySelector("audio").currentTime === 0, WITHIN);
  observed.duration = await frame.$eval("audio", (audio) => audio.duration);
  await page.evaluate(() => (navigator.clipboard.writeText = async (text) => (window.copied = text)));
  await page.click("#inspect");
  const rows = await page.$$("#message-list details");
  const titles = await Promise.all(rows.map((row) => row.$eval("summary", (summary) => summary.textContent)));
  observed.audioRows = titles.filter((title) => title.includes("live.audio."));
  observed.copies = {};
  for (const kind of ["live.audio.", "segments."]) {
    const row = rows[titles.findIndex((title) => title.includes(kind))];
    await row.$eval("summary", (summary) => summary.click());
    await row.waitForSelector("button", WITHIN);
    const copies = [];
    for (const button of await row.$$("button")) {
      await button.evaluate((button) => button.click());
      copies.push(await page.evaluate(() => window.copied));
    }
    observed.copies[kind] = copies;
  }
  return observed;
}

// A page that is loaded again while it records.
async function reloaded() {
  const page = await open();
  await page.click("#to-live");
  await page.click("#record");
  await page.waitForFunction(() => document.getElementById("lag").textContent, WITHIN);
  page.on("dialog", (dialog) => dialog.accept()); // it asks whether to leave
  await page.reload();
  const observed = { notice: await says(page, "#notice"), link: await page.$eval("#notice a", (link) => link.getAttribute("href")) };
  await inspect(page, "reloaded");
  await page.click("#to-recordings");
  await page.waitForSelector("#notice", { hidden: true, ...WITHIN }); // it was about another page
  return observed;
}

// A recording of an hour: how long its upload and its first text take, and how long the page is blocked.
async function hour() {
  const page = await open();
  await watchTasks(page);
  const began = Date.now();
  await choose(page, options.file);
  await page.waitForSelector("#task-state:is([data-state=queued], [data-state=running])", WITHIN);
  const uploaded = Date.now();
  await isShown(page, "#task-text p");
  const observed = { upload: uploaded - began, firstText: Date.now() - uploaded };
  const lines = (count) => page.waitForFunction((count) => document.querySelectorAll("#task-text p").length >= count, WITHIN, count);
  await lines(4);
  observed.blocked = await longestTask(page);
  await (await page.createCDPSession()).send("Emulation.setCPUThrottlingRate", { rate: 4 });
  await watchTasks(page);
  await lines(10);
  observed.blockedWhenSlow = await longestTask(page);
  await page.click("#task-actions [value=cancel]");
  await page.waitForSelector("#task-state[data-state=cancelled]", WITHIN);
  return observed;
}

// Several files at once, of which some cannot be transcribed; then what can be done with their tasks.
async function several() {
  const page = await open();
  await choose(page, ...options.files);
  await says(page, "#tasks", options.last);
  const states = () => page.$$eval("#tasks li", (rows) => Object.fromEntries(rows.map((row) => [row.querySelector("a").textContent, [row.querySelector(".state").textContent, row.querySelector(".about").textContent]])));
  const running = "#tasks > :is([data-state=uploading], [data-state=queued], [data-state=running])";
  await page.waitForFunction((running, names) => ![...document.querySelectorAll(running)].some((row) => names.includes(row.querySelector("a").textContent)), WITHIN, running, options.files.map((file) => basename(file)));
  const observed = { states: await states() };
  await inspect(page, "several");
  await page.type("#filter", options.filter);
  observed.filtered = await texts(page, "#tasks a");
  await page.click("#tasks a");
  await isShown(page, "#task-actions [value=delete]");
  observed.problem = await text(page, "#task-about");
  observed.offered = await page.$$eval("#task-actions > button:not([hidden])", (buttons) => buttons.map((button) => button.textContent));
  await inspect(page, "failed");
  // The task is deleted, and leaves the list of another tab, too.
  const other = await open();
  const row = `#tasks a[href="${new URL(page.url()).hash}"]`;
  await other.waitForSelector(row, WITHIN);
  await page.bringToFront();
  page.on("dialog", (dialog) => dialog.accept());
  const left = other.waitForFunction((row) => !document.querySelector(row), { ...WITHIN, polling: 200 }, row); // it draws no frames
  await page.click("#task-actions [value=delete]");
  // The page says so, for some seconds, and no longer once another page is opened.
  await says(page, "#said", "Deleted");
  await left;
  await page.click("#to-live");
  await page.waitForFunction(() => !document.getElementById("said").textContent, WITHIN);
  return observed;
}

// A speaker gets a name, which the next recording shows.
async function naming() {
  const page = await open();
  await choose(page, options.file);
  await transcript(page);
  const other = await open();
  await go(other, page.url().split("/").pop());
  for (const tab of [other, page]) {
    await tab.bringToFront();
    await tab.waitForSelector("#speaker-names button", WITHIN);
  }
  await page.click("#speaker-names button");
  await isShown(page, "#enrol");
  await inspect(page, "naming");
  await page.type("#enrol [name=name]", options.person);
  await page.type("#enrol [name=by]", options.person);
  await page.keyboard.press("Enter");
  const observed = { said: await says(page, "#said", options.person) };
  observed.named = (await transcript(page)).speakers;
  // The same speaker once more, in a tab of before: this person is known, and gets the recording by a button.
  await other.bringToFront();
  await other.click("#speaker-names button");
  await isShown(other, "#enrol");
  await other.type("#enrol [name=name]", options.person);
  await other.type("#enrol [name=by]", options.person);
  await other.keyboard.press("Enter");
  await isShown(other, "#enrol-add");
  Object.assign(observed, { known: await text(other, "#enrol-problem"), step: await text(other, "#enrol-add") });
  await inspect(other, "known");
  await other.click("#enrol-add");
  observed.added = await says(other, "#said", "added");
  await page.bringToFront();
  await page.click(".back a");
  await choose(page, options.file);
  await says(page, "#speaker-names", options.person);
  observed.names = await texts(page, "#speaker-names li");
  return observed;
}

// The messages of a task, and what a person copies of them.
async function messages() {
  const page = await open();
  await page.evaluate(() => (navigator.clipboard.writeText = async (text) => (window.copied = text)));
  await choose(page, options.file);
  await transcript(page);
  await page.focus("#inspect");
  await page.keyboard.press("Enter");
  const observed = { subjects: await texts(page, "#message-list code"), copies: [] };
  await page.$$eval("#message-list summary", (all) => all.forEach((summary) => summary.click()));
  await page.waitForFunction(() => [...document.querySelectorAll("#message-list details")].every((details) => details.children.length > 1));
  await inspect(page, "messages");
  for (const row of await page.$$("#message-list li")) {
    const copies = [await row.$eval("code", (code) => code.textContent)];
    for (const button of await row.$$("button")) {
      await button.evaluate((button) => button.click());
      copies.push(await page.evaluate(() => window.copied));
    }
    observed.copies.unshift(copies); // the newest is shown first
  }
  await page.keyboard.press("Escape");
  observed.focus = await page.evaluate(() => document.activeElement.id);
  observed.isClosed = await page.$eval("#messages", (drawer) => drawer.hidden);
  return observed;
}

// An upload whose connection breaks, and one whose page is closed.
async function cut() {
  const network = await proxy(options.websocket);
  const page = await open();
  await behind(network, page);
  const part = .45 * statSync(options.file).size; // twice as much is not yet all of it
  network.allow(part);
  await page.select("#task-options [name=language]", options.language);
  await page.type("#task-options [name=vocabulary]", options.vocabulary);
  await choose(page, options.file);
  await page.waitForFunction(() => document.getElementById("task-progress").value > 0.3, WITHIN);
  network.break();
  await says(page, "#task-about", "The connection is lost");
  await inspect(page, "offline");
  network.restore();
  network.allow(part);
  await page.waitForFunction(() => document.getElementById("task-progress").value > 0.6, WITHIN);
  page.on("dialog", (dialog) => dialog.accept()); // it asks whether to leave during an upload
  await page.reload();
  await says(page, "#task-about", "Choose the same file again");
  await inspect(page, "interrupted");
  await choose(page, options.file);
  await says(page, "#task-state", "Waiting");
  const observed = { about: await text(page, "#task-about"), problem: await text(page, "#connection-problem") };
  await page.close();
  network.close();
  return observed;
}

// Three uploads in one tab, as another tab shows them; the last one, which waits for its turn, is cancelled there.
async function tabs() {
  const network = await proxy(options.websocket);
  const page = await open();
  await behind(network, page);
  network.allow(options.allowed);
  await choose(page, ...options.files);
  const other = await open();
  const rows = (page, selector, count) => page.waitForFunction((selector, count) => document.querySelectorAll(selector).length === count, { ...WITHIN, polling: 200 }, selector, count);
  await rows(other, "#tasks [data-state=uploading]", options.files.length);
  const observed = { about: await texts(other, "#tasks .about") };
  await inspect(other, "tabs");
  await other.evaluate((name) => [...document.querySelectorAll("#tasks a")].find((link) => link.textContent === name).click(), options.cancelled);
  await isShown(other, "#task-actions [value=cancel]");
  await other.click("#task-actions [value=cancel]");
  await rows(page, "#tasks li", options.files.length - 1);
  network.allow(Infinity);
  for (const tab of [page, other]) await rows(tab, "#tasks [data-state=queued]", options.files.length - 1);
  observed.names = await texts(other, "#tasks a");
  network.close();
  return observed;
}

// A failed task whose recording another task needs.
async function shared() {
  const page = await open();
  await says(page, "#tasks", options.name);
  await go(page, options.task);
  await isShown(page, "#task-actions [value=delete]");
  await page.click("#task-actions [value=delete]");
  const observed = { problem: await says(page, "#task-problem") };
  await inspect(page, "shared");
  return observed;
}

// A page whose NATS does not run.
async function down() {
  const page = await browser.visit(options.page);
  const observed = { problem: await says(page, "#connection-problem"), link: await text(page, "#link") };
  await choose(page, options.file);
  observed.file = await says(page, "#task-about");
  await inspect(page, "down");
  return observed;
}

// NATS goes away for long, and the service is started again at another address.
async function restarted() {
  const page = await open();
  writeFileSync(`${folder}/open`, "");
  const observed = { problem: await says(page, "#connection-problem", "for a while") };
  await inspect(page, "away");
  writeFileSync(`${folder}/away`, "");
  await page.waitForFunction((server) => document.getElementById("server").value === server && !document.body.classList.contains("offline"), { ...WITHIN, polling: 200 }, options.server);
  return observed;
}

// What the boxes of problems say that somebody sees.
const problems = (page) => page.$$eval(".problem", (boxes) => boxes.filter((box) => box.checkVisibility()).map((box) => box.textContent));

// NATS is started again while a task runs, and a worker only later.
async function unserved() {
  const page = await open();
  await go(page, options.task);
  await says(page, "#task-state", "Running");
  writeFileSync(`${folder}/open`, "");
  await says(page, "#connection-problem", "No worker replies");
  const observed = { atFirst: await problems(page), views: {} };
  for (const view of ["#", "#live", `#task/${options.task}`]) {
    await goTo(page, view);
    observed.views[view] = await problems(page);
  }
  await page.click("#task-actions [value=cancel]");
  await page.waitForFunction(() => document.getElementById("task-problem").textContent, WITHIN);
  observed.cancelling = await problems(page);
  await inspect(page, "unserved");
  writeFileSync(`${folder}/away`, "");
  await page.waitForFunction(() => !document.getElementById("connection-problem").textContent, WITHIN);
  return { ...observed, atLast: await problems(page), state: await text(page, "#task-state") };
}

// A file that is chosen before there is a service.
async function early() {
  const page = await open();
  await choose(page, options.file);
  const observed = { problem: await says(page, "#task-about", "No Natscribe runs"), state: await text(page, "#task-state") };
  writeFileSync(`${folder}/open`, "");
  await says(page, "#task-state", "Waiting");
  return { ...observed, atLast: await problems(page) };
}

// Two presses of Connect: the first address is slow to reply, and the second one is used.
async function connects() {
  const [slow, quick] = await Promise.all([proxy(options.websocket), proxy(options.websocket)]);
  const page = await open();
  slow.allow(0);
  await page.evaluate((...addresses) => {
    for (const address of addresses) {
      document.getElementById("server").value = address;
      document.querySelector("#connection-form button").click();
    }
  }, slow.address, quick.address);
  await until(() => quick.connections());
  await isConnected(page);
  slow.allow(Infinity);
  await until(() => !slow.connections());
  const observed = { link: await text(page, "#link") };
  await page.close();
  for (const network of [slow, quick]) network.close();
  return observed;
}

// A failed task is tried again; the new one is cancelled and deleted.
async function again() {
  const page = await open();
  await says(page, "#tasks", options.name);
  await go(page, options.task);
  await isShown(page, "#task-actions [value=retry]");
  await page.click("#task-actions [value=retry]");
  await says(page, "#task-state", "Waiting");
  const observed = { task: await page.evaluate(() => location.hash.split("/")[1]) };
  await page.click("#task-actions [value=cancel]");
  await says(page, "#task-state", "Cancelled");
  page.on("dialog", (dialog) => dialog.accept() && (observed.question = dialog.message()));
  await page.click("#task-actions [value=delete]");
  await says(page, "#said", "Deleted");
  return observed;
}

// One task is opened, and then another one before the transcript of the first has come.
async function switched() {
  const page = await open();
  const [first, second] = options.tasks;
  await go(page, first);
  await page.waitForFunction(() => !document.getElementById("result").hidden, WITHIN);
  await go(page, second);
  await says(page, "#tasks", options.last); // what comes after both transcripts
  return { name: await text(page, "#task-name"), ...(await transcript(page)) };
}

// A task is left while its recording is loaded, for that of another task.
async function left() {
  const page = await open();
  const [first, second] = options.tasks;
  await go(page, first);
  const isLoading = () => document.getElementById("task-about").textContent.includes("Loading the recording");
  await page.waitForFunction(isLoading, { polling: "mutation", ...WITHIN }); // not for long
  await go(page, second);
  await page.evaluate(() => {
    window.noted = [];
    new MutationObserver((records) => window.noted.push(...records.map(({ addedNodes }) => addedNodes[0]?.textContent ?? ""))).observe(document.getElementById("task-about"), { childList: true });
  });
  await transcript(page);
  return { noted: await page.evaluate(() => window.noted) };
}

// A result that cannot be read at first.
async function unread() {
  const page = await open();
  await go(page, options.task);
  const observed = { problem: await says(page, "#task-problem") };
  writeFileSync(`${folder}/unread`, "");
  return { ...observed, ...(await transcript(page)) };
}

// The number of pages of a PDF file.
const pages = (pdf) => Buffer.from(pdf).toString("latin1").match(/\/Type\s*\/Page\b(?!s)/g).length;

// What is printed of a transcript by the menu of the browser, and of the file that the service writes.
async function printed() {
  const page = await openTask();
  await transcript(page);
  await page.evaluate(() => addEventListener("beforeprint", () => (window.printed = [...document.getElementById("printed").shadowRoot.querySelectorAll(".line p")].map((line) => line.textContent))));
  const observed = { pages: pages(await page.pdf({ path: `${folder}/page.pdf` })) };
  observed.isPrintedByButton = await page.evaluate(() => new Promise((done) => {
    window.print = () => done(true);
    document.getElementById("print").click();
  }));
  Object.assign(observed, await page.evaluate(() => ({ lines: window.printed, isLeft: Boolean(document.getElementById("printed")), title: document.title })));
  const alone = await browser.visit("about:blank");
  await alone.setContent(readFileSync(options.alone, "utf-8"));
  observed.pagesAlone = pages(await alone.pdf());
  return observed;
}

// Files that are dropped on a transcript, and a folder.
async function dropped() {
  const page = await openTask();
  await transcript(page);
  await drop(page, "#transcript", options.file);
  await says(page, "#task-name", options.name);
  await says(page, "#task-state", "Waiting");
  await drop(page, "main", options.directory);
  await says(page, "#task-state", "Not sent");
  const observed = { problem: await text(page, "#task-about"), canRetry: await page.$eval("#task-actions [value=retry]", (button) => !button.hidden) };
  await inspect(page, "directory");
  return observed;
}

// What the dialog says when the service refuses to enrol a speaker, until it accepts.
async function refusals() {
  const page = await openTask();
  await isShown(page, "#speaker-names button");
  await page.click("#speaker-names button");
  await isShown(page, "#enrol");
  await page.type("#enrol [name=by]", options.person);
  await page.type("#enrol [name=name]", options.person);
  const observed = { problems: [] };
  for (const _ of Array(options.refusals).keys()) {
    await page.$eval("#enrol-problem", (problem) => problem.replaceChildren());
    await page.click("#enrol-new");
    observed.problems.push(await says(page, "#enrol-problem"));
  }
  // The person sounds like another one, whose name is given: it has to be another name.
  await page.click("#enrol-new");
  observed.isValid = await page.$eval("#enrol [name=name]", (name) => name.validity.valid);
  await inspect(page, "refusals");
  await page.type("#enrol [name=name]", options.more);
  await page.click("#enrol-new");
  observed.said = await says(page, "#said");
  return observed;
}

// The drawer, when many messages come.
async function drawer() {
  const page = await open();
  await page.click("#inspect");
  await watchTasks(page);
  writeFileSync(`${folder}/open`, "");
  await says(page, "#message-list", options.last);
  const observed = { subjects: await texts(page, "#message-list code"), tasks: await texts(page, "#tasks a"), blocked: await longestTask(page) };
  await inspect(page, "drawer");
  return observed;
}

// What the list says of a task while its events come.
async function estimates() {
  const page = await open();
  await says(page, "#tasks", options.name);
  await page.evaluate(() => {
    window.noted = [];
    new MutationObserver((records) => window.noted.push(...records.map(({ addedNodes }) => addedNodes[0]?.textContent ?? ""))).observe(document.querySelector("#tasks .about"), { childList: true });
  });
  writeFileSync(`${folder}/open`, "");
  await says(page, "#tasks .state", "Done");
  return { noted: await page.evaluate(() => window.noted) };
}

// A translation whose speakers get names, and its player.
async function translated() {
  const page = await openTask();
  await transcript(page);
  const frame = async () => (await page.$("#transcript")).contentFrame();
  const observed = { languages: await (await frame()).$$eval("[data-language]", (all) => all.map((node) => node.textContent)) };
  observed.facts = await (await frame()).$$eval(".facts li, .note, footer dt, footer time, #player small", (all) => all.map((node) => node.textContent));
  // A key plays the recording, wherever the focus is.
  observed.focus = await page.evaluate(() => document.activeElement.id);
  await page.keyboard.press("Space");
  await (await frame()).waitForFunction(() => !document.querySelector("audio").paused, WITHIN);
  await page.keyboard.press("Space");
  await (await frame()).waitForFunction(() => document.querySelector("audio").paused, WITHIN);
  // The first speaker gets a name; of the second there is too little.
  const [first, second] = await page.$$("#speaker-names button");
  await second.click();
  await isShown(page, "#enrol");
  observed.said = await text(page, "#enrol-obstacle");
  observed.isAsked = await page.$eval("#enrol-voice", (part) => part.checkVisibility());
  await page.keyboard.press("Escape");
  await first.click();
  await isShown(page, "#enrol");
  await page.type("#enrol [name=name]", options.person);
  await page.type("#enrol [name=by]", "Berg");
  await page.keyboard.press("Enter");
  await says(page, "#speaker-names", options.person);
  observed.speakers = (await transcript(page)).speakers;
  await inspect(page, "named");
  await page.reload();
  observed.again = (await transcript(page)).speakers;
  await page.evaluate(() => (navigator.clipboard.writeText = async (text) => (window.copied = text)));
  await page.click("#copy-text");
  await page.waitForFunction(() => window.copied, WITHIN);
  observed.copied = await page.evaluate(() => window.copied);
  // The arrows open the menu of formats, and move in it.
  await page.focus("#result .menu");
  for (const _ of options.steps) await page.keyboard.press("ArrowDown");
  observed.chosen = await page.evaluate(() => document.activeElement.value);
  return observed;
}

// A task whose model is not offered.
async function unoffered() {
  const page = await openTask();
  await isShown(page, "#task-actions [value=plain]");
  const observed = { about: await text(page, "#task-about"), original: await text(page, "#task-original p") };
  observed.offered = await page.$$eval("#task-actions > button:not([hidden])", (buttons) => buttons.map((button) => button.textContent));
  await inspect(page, "unoffered");
  await page.click("#task-actions [value=plain]");
  await says(page, "#task-state", "Waiting");
  return observed;
}

// A page with the modules of this one, as a document shows it.
async function reused() {
  const page = await browser.visit(`${options.page}settings.json`); // a document of the same origin, without content of its own
  const [, body, script] = options.document.match(/^(.*)<script type="module">\n(.*)<\/script>/s);
  const program = script.replace(/^import (\{.*\}) from "(.*)";$/gm, 'const $1 = await import("$2");').replace(/ws:[^"]*/, `ws://127.0.0.1:${options.websocket}`);
  await page.evaluate((names) => document.body.replaceChildren(...names.map((name) => document.createElement(name))), [...body.matchAll(/<(\w+)/g)].map(([, name]) => name));
  await page.evaluate(() => (document.querySelector("input").type = "file"));
  await page.evaluate(`(async () => { ${program} })()`);
  await (await page.$("input")).uploadFile(options.file);
  await says(page, "pre", options.says);
  return { text: await text(page, "pre") };
}

// Options that are folded: a file that is chosen while one is not valid, and what a reload keeps.
async function folded() {
  const page = await open();
  await page.click("#task-options summary");
  for (const [name, value] of Object.entries(options.fields)) await page.type(`#task-options [name=${name}]`, value);
  await choose(page, options.file);
  await isShown(page, "#waiting");
  const observed = { waiting: await text(page, "#waiting") };
  await inspect(page, "invalid");
  await page.$eval("#task-options [name=max]", (field) => (field.value = ""));
  await page.type("#task-options [name=max]", options.corrected);
  await page.keyboard.press("Tab");
  await says(page, "#task-state", "Waiting");
  await page.reload();
  await isConnected(page);
  await page.click("#to-recordings");
  observed.set = await text(page, "#task-options summary");
  await inspect(page, "folded");
  await page.click("#reset-options");
  observed.reset = await text(page, "#task-options summary");
  return observed;
}

// The page of a task that is erased while it is open, and once more after a reload.
async function erased() {
  const page = await open();
  await go(page, options.task);
  await transcript(page);
  writeFileSync(`${folder}/open`, "");
  await says(page, "#task-state", "Deleted");
  const observed = { about: await text(page, "#task-about"), isRead: await page.$eval("#transcript", (frame) => !frame.hidden) };
  await inspect(page, "erased");
  await page.reload();
  return { ...observed, notice: await says(page, "#notice"), shown: await page.$eval("#recordings", (section) => !section.hidden) };
}

// A service that has its recordings elsewhere than in NATS.
async function elsewhere() {
  const page = await open();
  await isShown(page, "#no-bucket");
  const observed = { problem: await text(page, "#no-bucket"), isOffered: await page.$eval("#drop", (drop) => drop.checkVisibility()) };
  await inspect(page, "elsewhere");
  return observed;
}

// Somebody whom NATS or its storage refuses an upload.
async function refused() {
  const page = await open();
  await choose(page, options.file);
  await says(page, "#task-state", "Not sent");
  const observed = { problem: await text(page, "#task-about"), canRetry: await page.$eval("#task-actions [value=retry]", (button) => !button.hidden) };
  await inspect(page, "refused");
  return observed;
}

// NATS that asks for a login.
async function login() {
  const page = await browser.visit(options.page);
  await page.waitForSelector("#connection[open]", WITHIN);
  await page.type("#user", options.user);
  const observed = {};
  for (const password of options.passwords) {
    await page.$eval("#password", (input) => (input.value = ""));
    await page.type("#password", password);
    await page.evaluate(() => document.getElementById("connection-problem").replaceChildren());
    await page.keyboard.press("Enter");
    const outcome = await page.waitForFunction(() => document.getElementById("connection-problem").textContent || !document.body.classList.contains("offline"), WITHIN);
    observed.problem ??= await outcome.jsonValue();
    if (password === options.passwords[0]) await inspect(page, "login");
  }
  observed.link = await text(page, "#link");
  return observed;
}

// A list of many tasks, with whatever names they have.
async function list() {
  const page = await open({ features: [] });
  await watchTasks(page);
  await page.reload();
  const dialogs = [];
  page.on("dialog", (dialog) => dialogs.push(dialog.message()) && dialog.dismiss());
  await page.waitForFunction((count) => document.querySelectorAll("#tasks li").length === count, WITHIN, options.count);
  await says(page, "#tasks li .state", "Running");
  const observed = { first: await texts(page, "#tasks li:first-child > *"), dialogs };
  await page.type("#filter", options.filter);
  observed.filtered = await texts(page, "#tasks a");
  observed.elements = await page.evaluate(() => [...new Set([...document.querySelectorAll("#tasks *")].map((element) => element.localName))]);
  observed.blocked = await longestTask(page);
  await page.$eval("#filter", (input) => (input.value = "") || input.dispatchEvent(new Event("input")));
  await inspect(page, "list");
  return observed;
}

// A file with whatever name, which no file system has to have.
async function chosen() {
  const page = await open();
  const dialogs = [];
  page.on("dialog", (dialog) => dialogs.push(dialog.message()) && dialog.dismiss());
  await page.evaluate((name) => {
    const files = new DataTransfer();
    files.items.add(new File([new Uint8Array(1000)], name));
    const input = document.getElementById("files");
    input.files = files.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }, options.name);
  await says(page, "#task-state", "Waiting");
  const observed = { name: await text(page, "#task-name"), title: await page.title(), dialogs };
  return { ...observed, width: await inspect(page, "chosen") };
}

// The same task in a browser that has not uploaded its recording.
async function elsewhere_named() {
  const page = await open();
  await says(page, "#tasks li");
  const observed = { row: await text(page, "#tasks a"), width: await inspect(page, "named-row") };
  await go(page, options.task);
  return { ...observed, name: await text(page, "#task-name") };
}

// Names speakers in one transcript, without their voices.
async function named_here() {
  const page = await openTask();
  const dialogs = [];
  page.on("dialog", (dialog) => dialogs.push(dialog.message()) && dialog.dismiss());
  await transcript(page);
  const nameTo = async (at, name) => {
    await (await page.$$("#speaker-names button"))[at].click();
    await isShown(page, "#enrol");
    const before = await page.$eval("#enrol [name=name]", (input) => input.value);
    await page.$eval("#enrol [name=name]", (input) => (input.value = ""));
    await page.type("#enrol [name=name]", name);
    await inspect(page, `named-here-${at}`);
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => !document.getElementById("enrol").open, WITHIN);
    return before;
  };
  await (await page.$("#speaker-names button")).click();
  await isShown(page, "#enrol");
  const observed = { dialogs, reason: await text(page, "#enrol-obstacle") };
  await page.keyboard.press("Escape");
  for (const [at, name] of options.people.entries()) await nameTo(at, name);
  observed.speakers = (await transcript(page)).speakers;
  await inspect(page, "named-here");
  await page.reload();
  observed.again = (await transcript(page)).speakers;
  await page.evaluate(() => (navigator.clipboard.writeText = async (text) => (window.copied = text)));
  observed.copied = await copied(page);
  await page.evaluate(() => {
    window.saved = {};
    let content;
    const { createObjectURL } = URL;
    URL.createObjectURL = (blob) => createObjectURL.call(URL, (content = blob));
    HTMLAnchorElement.prototype.click = async function () { window.saved[this.download] = await content.text(); };
  });
  for (const format of options.formats) await download(page, format);
  await page.waitForFunction((count) => Object.keys(window.saved).length === count, WITHIN, options.formats.length);
  observed.saved = await page.evaluate(() => window.saved);
  observed.prefilled = await nameTo(1, "");
  await page.reload();
  return { ...observed, restored: (await transcript(page)).speakers };
}

// The buttons of many speakers on a phone.
async function phone_names() {
  const page = await open(options.more);
  await go(page, options.task);
  await transcript(page);
  await page.click("#speaker-names button");
  await isShown(page, "#enrol");
  await page.type("#enrol [name=name]", options.person);
  await inspect(page, "phone-name-dialog");
  await page.keyboard.press("Enter");
  await says(page, "#speaker-names", options.person);
  const cut = await page.$$eval("#speaker-names button", (buttons) => buttons.filter((button) => {
    const { left, right } = button.getBoundingClientRect();
    return left < 0 || right > innerWidth || button.scrollWidth > button.clientWidth;
  }).map((button) => button.textContent));
  return { cut, width: await inspect(page, "phone-names") };
}

// A transcript and the drawer: how many lines of text the window has room for, once somebody has scrolled to them.
async function beside_drawer() {
  const page = await open(options.more);
  await go(page, options.task);
  await transcript(page);
  await page.click("#inspect");
  await page.waitForSelector("#message-list li", WITHIN);
  const width = await inspect(page, `beside-drawer-${options.more.width ?? "wide"}`);
  await page.evaluate(() => document.getElementById("transcript").scrollIntoView({ block: "start" }));
  await inspect(page, `beside-drawer-${options.more.width ?? "wide"}-scrolled`);
  const observed = await page.evaluate(() => {
    const [frame, drawer] = ["transcript", "messages"].map((id) => document.getElementById(id));
    const box = frame.getBoundingClientRect();
    const [list, row] = [drawer.getBoundingClientRect(), drawer.querySelector("li").getBoundingClientRect()];
    const isBeside = list.left >= box.right;
    const player = frame.contentDocument.getElementById("player").getBoundingClientRect().height;
    const room = Math.min(box.bottom, isBeside ? innerHeight : list.top) - Math.max(box.top, 0) - player;
    const line = parseFloat(frame.contentWindow.getComputedStyle(frame.contentDocument.querySelector(".line p")).lineHeight);
    return { lines: Math.floor(room / line), messages: Math.floor((Math.min(list.bottom, innerHeight) - row.top) / row.height) };
  });
  return { ...observed, width };
}

// What the list shows of tasks that have ended, on a desktop and a phone.
async function listing() {
  const page = await open();
  const dialogs = [];
  page.on("dialog", (dialog) => dialogs.push(dialog.message()) && dialog.dismiss());
  await page.waitForFunction((count) => document.querySelectorAll("#tasks li").length === count, WITHIN, options.count);
  await says(page, "#tasks .words", options.words);
  const observed = { dialogs, words: await texts(page, "#tasks .words"), lengths: await texts(page, "#tasks .length") };
  observed.width = await inspect(page, "listing");
  const phone = await open({ width: 390, height: 844, scheme: "dark", isPhone: true });
  await says(phone, "#tasks .words", options.words);
  const cut = await phone.$$eval("#tasks a", (links) => links.filter((link) => link.scrollWidth > link.clientWidth).length);
  return { ...observed, cut, phone: await inspect(phone, "listing-phone") };
}

// A task that runs, and whose first text takes some seconds.
async function begins() {
  const page = await open();
  await go(page, options.task);
  await says(page, "#task-state", "Waiting");
  await page.evaluate(() => {
    window.noted = { hints: [], announced: [] };
    const note = (node, list) => new MutationObserver(() => node.textContent && window.noted[list].push(node.textContent)).observe(node, { subtree: true, childList: true, characterData: true });
    note(document.getElementById("task-hint"), "hints");
    for (const live of document.querySelectorAll("#task [role=status]")) note(live, "announced");
  });
  writeFileSync(`${folder}/open`, "");
  await says(page, "#task-about", "Transcribing");
  await page.evaluate(() => (window.noted.announced = []));
  await page.waitForFunction(() => window.noted.hints.length > 3, WITHIN);
  const observed = { about: await text(page, "#task-about"), row: await text(page, "#tasks .about") };
  await inspect(page, "begins");
  writeFileSync(`${folder}/waited`, "");
  await isShown(page, "#task-text p");
  return { ...observed, ...(await page.evaluate(() => window.noted)), hintIsLeft: await page.$eval("#task-hint", (hint) => hint.checkVisibility()) };
}

const visits = { chosen, elsewhere_named, named_here, phone_names, beside_drawer, listing, begins, recording, several, naming, messages, cut, refused, list, live, hour, lost, login, large, read, slowly, tabs, shared, elsewhere, down, restarted, unserved, early, connects, again, switched, left, unread, printed, dropped, refusals, drawer, estimates, folded, erased, translated, unoffered, reloaded, reused };
try {
  Object.assign(seen, await visits[visit]());
} catch (error) {
  console.error(error, seen.complaints);
  for (const page of await browser.pages()) console.error(await page.evaluate(() => document.body.innerText.slice(0, 2000)));
  process.exit(1);
}
await browser.close();
console.log(JSON.stringify(seen));
