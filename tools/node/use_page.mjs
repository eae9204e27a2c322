// Uses the page in Chromium as a person would, and reports as JSON what was observed:
// node use_page.mjs CHROMIUM FOLDER OPTIONS VISIT; OPTIONS as JSON, as tests/e2e/web_page.py gives them
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { picture, start } from "./browser.mjs";

const [executablePath, folder, given, visit] = process.argv.slice(2);
const options = JSON.parse(given);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf-8");
const browser = await start(executablePath, options.language ? [`--accept-lang=${options.language}`] : []);
const seen = { requested: browser.requested, complaints: browser.complaints, violations: [] };
const WITHIN = { timeout: 90_000 };

const open = async (more) => {
  const page = await browser.visit(options.page, more);
  await page.waitForFunction(() => !document.body.classList.contains("offline"), WITHIN);
  return page;
};
const text = (page, selector) => page.$eval(selector, (element) => element.textContent);
const texts = (page, selector) => page.$$eval(selector, (elements) => elements.map((element) => element.textContent));
const says = (page, selector, words) => page.waitForFunction((selector, words) => document.querySelector(selector)?.textContent.includes(words), WITHIN, selector, words);
const isShown = (page, selector) => page.waitForSelector(selector, { visible: true, ...WITHIN });

async function choose(page, ...files) {
  await (await page.$("#files")).uploadFile(...files);
}

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
  await page.close();
  return observed;
}

const visits = { recording };
Object.assign(seen, await visits[visit]());
await browser.close();
console.log(JSON.stringify(seen));
