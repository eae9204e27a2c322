// Reads and plays transcripts in Chromium as a person would, and reports as JSON what was observed:
// node listen.mjs CHROMIUM FOLDER ADDRESSES VISIT..., with the addresses of pages by their names as JSON
import { drawn, picture, start } from "./browser.mjs";

const [executablePath, folder, addresses, ...parts] = process.argv.slice(2);
const pages = JSON.parse(addresses);
const browser = await start(executablePath);
const seen = { requested: browser.requested, complaints: browser.complaints };

const litNow = (page) => page.$$eval(".lit", (words) => words.map((word) => word.textContent));
const playing = (page) => page.$eval("audio", (audio) => ({ paused: audio.paused, at: audio.currentTime }));
const loaded = (page) => page.waitForFunction(() => document.querySelector("audio").readyState > 0);
const word = (page, text) => page.evaluateHandle((text) => [...document.querySelectorAll("p[data-t] span")].find((span) => span.textContent === text), text);

// Whether the word that is spoken is in sight; in a pause, the next one.
async function isInSight(page) {
  const observed = await page.waitForFunction(() => {
    const box = document.querySelector(".lit")?.getBoundingClientRect();
    return box && { isInSight: box.top > 0 && box.bottom < document.getElementById("player").getBoundingClientRect().top };
  }, { polling: "mutation" });
  return (await observed.jsonValue()).isInSight;
}

// What is lit when a word is, and whether the recording plays.
async function litIs(page, text) {
  const observed = await page.waitForFunction((text) => {
    const lit = [...document.querySelectorAll(".lit")].map((word) => word.textContent);
    const { paused, currentTime } = document.querySelector("audio");
    return lit.includes(text) && { lit, paused, at: currentTime };
  }, { polling: "mutation" }, text); // it is seen when it is lit, not a frame later
  return observed.jsonValue();
}

// Nothing is over before it is seen.
const playSlowly = (page) => page.$eval("audio", (audio) => (audio.playbackRate = .125));

// Clicks or taps a word, and waits until it is lit.
async function touch(page, text, how = "click") {
  await playSlowly(page);
  await (await word(page, text))[how]();
  return litIs(page, text);
}

async function seek(page, seconds) {
  await page.evaluate((seconds) => new Promise((done) => {
    const audio = document.querySelector("audio");
    audio.addEventListener("seeked", done, { once: true });
    audio.currentTime = seconds;
  }), seconds);
  await drawn(page);
}

// What is lit at given times, and what a click and the keys do.
async function desktop(address) {
  const page = await browser.visit(address);
  await loaded(page);
  await picture(page, `${folder}/desktop-light.webp`);
  const observed = { litAt: {}, width: await page.evaluate(() => document.documentElement.scrollWidth) };
  for (const seconds of [0.2, 0.7, 1.1, 2.5, 3.2, 3.8, 4.2, 5.9]) {
    await seek(page, seconds);
    observed.litAt[seconds] = await litNow(page);
  }
  observed.clicked = await touch(page, "two");
  observed.movedOn = await litIs(page, "three");
  await picture(page, `${folder}/desktop-playing.webp`);
  await page.keyboard.press("Space");
  observed.stopped = await playing(page);
  await seek(page, 0.5);
  observed.keys = [];
  for (const key of ["ArrowRight", "ArrowLeft"]) {
    await page.keyboard.press(key);
    observed.keys.push((await playing(page)).at);
  }
  await page.keyboard.down("Shift");
  for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft"]) {
    await page.keyboard.press(key);
    observed.keys.push((await playing(page)).at);
  }
  await page.keyboard.up("Shift");
  await page.click(".turn:nth-child(3) a");
  observed.byTime = await playing(page);
  await page.keyboard.press("Space");
  const lane = await (await page.$("#speakers svg")).boundingBox();
  await page.mouse.click(lane.x + lane.width / 2, lane.y + lane.height / 2);
  observed.byLane = await playing(page);
  await page.emulateMediaType("print");
  observed.printed = await page.$eval("#player", (bar) => getComputedStyle(bar).display);
  await page.close();
  return observed;
}

// From a web server that cannot send parts of a file, a recording still plays.
async function served(address) {
  const page = await browser.visit(address);
  await loaded(page);
  await playSlowly(page);
  await page.keyboard.press("Space");
  const observed = await litIs(page, "two");
  await page.close();
  return observed;
}

async function phone(address) {
  const page = await browser.visit(address, { width: 390, height: 844, scheme: "dark", isPhone: true });
  await loaded(page);
  await picture(page, `${folder}/phone-dark.webp`);
  const observed = { ...(await touch(page, "two", "tap")), isInSight: await isInSight(page) };
  await picture(page, `${folder}/phone-playing.webp`);
  observed.width = await page.evaluate(() => document.documentElement.scrollWidth);
  observed.paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.close();
  return observed;
}

// A page that does not know its recording, or whose recording is gone, plays the one that its reader chooses.
async function chosen(address) {
  const page = await browser.visit(address);
  await page.waitForFunction(() => !document.querySelector("#player label").hidden);
  const observed = { asks: await page.$eval("#player label", (label) => label.textContent.trim()) };
  await (await page.$("input")).uploadFile(pages.sound);
  await loaded(page);
  observed.lit = (await touch(page, "two")).lit;
  await page.close();
  return observed;
}

async function withoutScripts(address) {
  const page = await browser.visit("about:blank");
  await page.setJavaScriptEnabled(false);
  await page.goto(address);
  await page.screenshot({ path: `${folder}/without-scripts.webp`, quality: 40 }); // nothing waits for frames without scripts
  const read = (selector) => page.$$eval(selector, (elements) => elements.map((element) => element.innerText));
  const observed = { text: await read("main p"), player: await page.$eval("audio", (audio) => audio.checkVisibility()) };
  await page.close();
  return observed;
}

async function hostile(address) {
  const dialogs = [];
  const page = await browser.visit("about:blank");
  page.on("dialog", (dialog) => dialogs.push(dialog.message()) && dialog.dismiss());
  await page.goto(address);
  await drawn(page);
  const observed = await page.evaluate(() => ({
    names: [...document.querySelectorAll("bdi")].map((name) => name.textContent),
    said: document.querySelector("p[data-t]").textContent,
    speaker: document.querySelector("h2").textContent,
    elements: [...new Set([...document.querySelectorAll("body *")].map((element) => element.localName))],
    scripts: document.scripts.length,
  }));
  await page.close();
  return { ...observed, dialogs };
}

// Three hours: how soon the page is there, how long a frame takes while it plays and while it scrolls.
async function long(address, more) {
  const observed = { usableAfter: Infinity };
  let page;
  for (let visit = 0; visit < 3; visit++) { // other tests may run beside this one
    await page?.close();
    const begun = performance.now();
    page = await browser.visit(address, more);
    observed.usableAfter = Math.min(observed.usableAfter, (performance.now() - begun) / 1000);
  }
  await loaded(page);
  await seek(page, 5000);
  observed.isInSight = await isInSight(page);
  observed.lightMs = await page.evaluate(() => {
    const begun = performance.now();
    for (let time = 0; time < 1000; time++) spokenAt(time * 1000);
    return (performance.now() - begun) / 1000;
  });
  await page.evaluate(() => document.querySelector("audio").play());
  observed.playing = await frames(page, 0);
  await page.mouse.move(300, 300);
  await page.mouse.wheel({ deltaY: 5000 });
  await page.waitForSelector("#follow:not([hidden])");
  observed.scrolling = await frames(page, 80);
  observed.leftAlone = !(await isInSight(page));
  await page.click("#follow");
  await drawn(page);
  observed.isBack = await isInSight(page);
  await page.close();
  return observed;
}

// The median time of a frame, in milliseconds.
const frames = (page, by) =>
  page.evaluate(async (by) => {
    const times = [];
    for (let before = performance.now(); times.length < 90; scrollBy({ top: by, behavior: "instant" })) {
      const now = await new Promise(requestAnimationFrame);
      times.push(now - before);
      before = now;
    }
    return times.sort((one, other) => one - other)[45];
  }, by);

const still = { features: [{ name: "prefers-reduced-motion", value: "reduce" }] };
const visits = {
  desktop: () => desktop(pages.heard),
  served: () => served(pages.served),
  phone: () => phone(pages.heard),
  unknown: () => chosen(pages.unknown),
  gone: () => chosen(pages.gone),
  withoutScripts: () => withoutScripts(pages.heard),
  hostile: () => hostile(pages.hostile),
  long: () => long(pages.long, still),
};
for (const part of parts) seen[part] = await visits[part]();
await browser.close();
console.log(JSON.stringify(seen));
