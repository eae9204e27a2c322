// Speaks to the microphone page in Chromium as a person would, and reports as JSON what was observed:
// node speak.mjs CHROMIUM FOLDER OPTIONS VISIT; OPTIONS as JSON, as tests/e2e/microphone.py gives them
import { picture, start } from "./browser.mjs";
import { proxy } from "./proxy.mjs";

const [executablePath, folder, given, visit] = process.argv.slice(2);
const options = JSON.parse(given);
const browser = await start(executablePath, [
  "--use-fake-device-for-media-stream",
  ...(options.isRefused ? ["--deny-permission-prompts"] : ["--use-fake-ui-for-media-stream"]),
  ...(options.sound ? [`--use-file-for-fake-audio-capture=${options.sound}%noloop`] : []),
]);
const seen = { requested: browser.requested, complaints: browser.complaints };

// Opens the page, and notes each state and each partial.
async function open(more) {
  const page = await browser.visit(options.page, more);
  await page.bringToFront();
  await page.waitForSelector("#record:enabled");
  await page.evaluate((server) => {
    if (server) document.getElementById("server").value = server;
    window.noted = { states: [], partials: [], problems: [], lags: [] };
    const note = (id, list, read = (element) => element.textContent) =>
      new MutationObserver(() => window.noted[list].push(read(document.getElementById(id)))).observe(document.getElementById(id), { subtree: true, childList: true, characterData: true });
    note("state", "states");
    note("problem", "problems");
    note("lag", "lags");
    note("partial", "partials", ({ children }) => [...children].map((part) => part.textContent));
  }, options.server);
  return page;
}

const says = (page, words) => page.waitForFunction((words) => document.getElementById("state").textContent.startsWith(words), { timeout: 60_000 }, words);
// What a reader notices at the end.
async function noted(page) {
  return {
    ...(await page.evaluate(() => window.noted)),
    lines: await page.$$eval("#text p", (lines) => lines.map((line) => line.lastChild.textContent)),
    speakers: await page.$$eval("#text b", (names) => names.map((name) => name.textContent)),
    notes: await page.$$eval("#notes li", (notes) => notes.map((note) => note.textContent)),
    partialIsHidden: await page.$eval("#partial", (element) => !element.checkVisibility()),
    width: await page.evaluate(() => document.documentElement.scrollWidth),
    elements: await page.evaluate(() => [...new Set([...document.querySelectorAll("#text *, #partial *, #notes *, #problem *")].map((element) => element.localName))]),
  };
}

const isHeard = (page, seconds) =>
  page.waitForFunction((seconds) => {
    const [minutes, rest] = document.getElementById("lag").textContent.split(":").map(parseFloat);
    return 60 * minutes + rest >= seconds;
  }, { timeout: 60_000 }, seconds);

// A person speaks for as long as the recording lasts, and meanwhile something may happen.
async function speak(name, more, { speakers = false, meanwhile = () => {} } = {}) {
  const page = await open(more);
  await picture(page, `${folder}/${name}-before.webp`);
  if (speakers) await page.click("#speakers");
  await page.click("#record");
  await says(page, "Listening");
  const happened = await meanwhile(page);
  await isHeard(page, options.seconds);
  await page.$eval("#record", (button) => button.click()); // it moves while the text grows
  await says(page, "Done");
  await picture(page, `${folder}/${name}-after.webp`);
  return { page, ...happened, ...(await noted(page)) };
}

// While somebody speaks: firm words and others, which can be read.
async function during(page, name) {
  await page.waitForFunction(() => document.querySelector("#text p") && document.querySelector("#partial:not([hidden]) span")?.textContent && document.querySelector("#partial .open").textContent, { polling: 20, timeout: 60_000 });
  const colours = await page.evaluate(() => ["#partial span", "#partial .open", "body"].map((selector) => {
    const { color, backgroundColor } = getComputedStyle(document.querySelector(selector));
    return selector === "body" ? backgroundColor : color;
  }));
  await picture(page, `${folder}/${name}-during.webp`);
  return { colours };
}

async function desktop() {
  const { page, ...observed } = await speak("desktop", {}, { meanwhile: (page) => during(page, "desktop") });
  await page.evaluate(() => (navigator.clipboard.writeText = async (text) => (window.copied = text))); // nobody may read the real one
  await page.click("#copy");
  await says(page, "Copied");
  observed.copied = await page.evaluate(() => window.copied);
  const session = await page.createCDPSession();
  await session.send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: folder, eventsEnabled: true });
  const saved = new Promise((done) => session.on("Browser.downloadProgress", ({ state }) => state === "completed" && done()));
  await page.click("#save");
  await saved;
  await page.close();
  return observed;
}

async function phone() {
  const more = { width: 390, height: 844, scheme: "dark", isPhone: true };
  const { page, ...observed } = await speak("phone", more, { speakers: true, meanwhile: (page) => during(page, "phone") });
  await page.click("summary");
  await picture(page, `${folder}/phone-connection.webp`);
  observed.openWidth = await page.evaluate(() => document.documentElement.scrollWidth);
  await page.close();
  return observed;
}

// The WebSocket breaks while somebody speaks, nobody answers for some seconds, and then it is there again.
async function cut() {
  const network = await proxy(new URL(options.server).port);
  options.server = network.address;
  const meanwhile = async (page) => {
    await isHeard(page, options.cut.at);
    network.break();
    await says(page, "NATS is away");
    await isHeard(page, options.cut.at + options.cut.seconds);
    await picture(page, `${folder}/cut-during.webp`);
    network.restore();
    await says(page, "Listening");
  };
  const { page, ...observed } = await speak("cut", {}, { meanwhile });
  await page.close();
  network.close();
  return observed;
}

// Somebody presses Start, and it cannot work.
async function problem() {
  const page = await open({ width: 390, height: 844, isPhone: true });
  await page.click("#record");
  await page.waitForFunction(() => document.getElementById("problem").checkVisibility());
  await says(page, "Ready"); // the connection is closed after the problem is shown
  await picture(page, `${folder}/problem.webp`);
  const observed = { problem: await page.$eval("#problem", (element) => element.textContent), button: await page.$eval("#record", (button) => button.textContent) };
  observed.connectionIsOpen = await page.$eval("#connection", (details) => details.open);
  await page.close();
  return observed;
}

// As from a file, where a browser loads no modules.
async function withoutScripts() {
  const page = await browser.visit("about:blank");
  await page.setJavaScriptEnabled(false);
  await page.goto(options.page);
  const observed = { hint: await page.$eval("noscript p", (hint) => hint.textContent), isDisabled: await page.$eval("#record", (button) => button.disabled) };
  await page.close();
  return observed;
}

// Whatever text comes stays text.
async function hostile() {
  const page = await open();
  const dialogs = [];
  page.on("dialog", (dialog) => dialogs.push(dialog.message()) && dialog.dismiss());
  await page.click("#speakers");
  await page.click("#record");
  await says(page, "Done");
  const observed = { dialogs, ...(await noted(page)) };
  await page.close();
  return observed;
}

// A page that waits for a worker, as wide as a desktop and then as a phone, until its task has ended. Its user takes some
// seconds to allow the microphone.
async function waiting() {
  const page = await open();
  await page.evaluate(() => {
    const { mediaDevices } = navigator;
    const allowed = mediaDevices.getUserMedia.bind(mediaDevices);
    mediaDevices.getUserMedia = (constraints) => new Promise((done) => setTimeout(done, 4000)).then(() => allowed(constraints));
  });
  await page.click("#record");
  await says(page, "Waiting for a worker");
  await page.waitForFunction(() => Number(/text (\d+) s behind/.exec(document.getElementById("lag").textContent)?.[1]) >= 8, { timeout: 60_000 });
  await picture(page, `${folder}/waiting-desktop.webp`);
  await page.setViewport({ width: 390, height: 844 }); // a change to a phone would load the page again
  await picture(page, `${folder}/waiting-phone.webp`);
  await says(page, "Done");
  const observed = await noted(page);
  await page.close();
  return observed;
}

// Somebody who speaks with speakers, and loads the page again: once it is done, and in the middle of the next recording.
async function kept() {
  const { page, ...observed } = await speak("kept", {}, { speakers: true });
  const colours = () => page.$$eval("#text b", (names) => names.map((name) => getComputedStyle(name).color));
  const shown = async () => {
    const { lines, speakers } = await noted(page);
    return { lines, speakers, colours: await colours(), isChosen: await page.$eval("#speakers", (box) => box.checked), canCopy: await page.$eval("#copy", (button) => !button.disabled) };
  };
  observed.colours = await colours();
  await page.reload();
  await page.waitForSelector("#to-transcript:not([hidden])");
  await page.evaluate(() => (window.noted = {}));
  observed.again = await shown();
  await picture(page, `${folder}/kept-again.webp`);
  await page.click("#record");
  await page.waitForFunction(() => document.querySelectorAll("#text p").length === 1, { timeout: 60_000 });
  page.on("dialog", (dialog) => dialog.accept()); // it asks whether to leave
  await page.reload();
  await page.waitForSelector("#text p");
  await page.evaluate(() => (window.noted = {}));
  observed.interrupted = { ...(await shown()), notice: await page.$eval("#notice", (notice) => notice.textContent) };
  await page.close();
  return observed;
}

// Somebody requests the text twice with the space bar: right after Start, and when nothing has the focus.
async function finalized() {
  const meanwhile = async (page) => {
    await page.waitForFunction(() => document.querySelector("#partial").textContent, { polling: 20, timeout: 60_000 });
    await page.keyboard.press("Space");
    await page.waitForSelector("#text p");
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press("Space");
    await picture(page, `${folder}/finalized.webp`);
  };
  const { page, ...observed } = await speak("finalized", {}, { meanwhile });
  observed.isHidden = await page.$eval("#finalize", (button) => button.hidden);
  await page.close();
  return observed;
}

const visits = { finalized, kept, desktop, phone, cut, problem, withoutScripts, hostile, waiting };
Object.assign(seen, await visits[visit]());
await browser.close();
console.log(JSON.stringify(seen));
