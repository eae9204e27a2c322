// Opens the docs page in Chromium as a person would, takes pictures of it, and says as JSON what was seen:
// node browse.mjs CHROMIUM URL FOLDER
import puppeteer from "puppeteer-core";

const [executablePath, url, folder] = process.argv.slice(2);
const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--font-render-hinting=none"];
const browser = await puppeteer.launch({ executablePath, headless: true, args });
const requested = [];
const complaints = [];
const usableAfter = []; // seconds

async function visit(width, scheme, place = "") {
  const page = await browser.newPage();
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.setViewport({ width, height: 900 });
  page.on("request", (request) => requested.push(request.url()));
  page.on("console", (message) => ["error", "warn"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("requestfailed", (request) => complaints.push(`${request.url()}: ${request.failure().errorText}`));
  const begun = performance.now();
  await page.goto(url + place, { waitUntil: "load" });
  await drawn(page);
  usableAfter.push((performance.now() - begun) / 1000);
  return page;
}

const drawn = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

async function picture(page, name) {
  await drawn(page);
  await page.screenshot({ path: `${folder}/${name}.webp`, quality: 40 });
}

const size = (page) => page.evaluate(() => ({ width: document.documentElement.scrollWidth, height: document.documentElement.scrollHeight }));

// Each link of the contents is followed: what it leads to has to come into sight.
async function deadLinks(page) {
  return page.$$eval("nav a", async (links) => {
    const dead = [];
    for (const link of links) {
      link.click();
      const place = document.querySelector(link.hash).getBoundingClientRect();
      if (!(place.height > 0 && place.top < innerHeight && place.bottom > 0)) dead.push(link.hash);
    }
    return dead;
  });
}

async function searched(page, words) {
  await page.$eval("input", (input) => (input.value = "") || input.blur());
  await page.keyboard.press("/");
  await page.keyboard.type(words);
  return page.evaluate(() => {
    const isSeen = (element) => element.checkVisibility();
    const [first] = [...CSS.highlights.get("found")].map((range) => range.getBoundingClientRect());
    return {
      parts: [...document.querySelectorAll("main [data-find]")].filter(isSeen).map((part) => part.id),
      links: [...document.querySelectorAll("nav a")].filter(isSeen).map((link) => link.hash),
      marksInSight: first !== undefined && first.height > 0 && first.top > 0 && first.bottom < innerHeight,
      nothing: isSeen(document.getElementById("nothing")),
    };
  });
}

// Each page is done with before the next one opens: a page in the background draws nothing.
const wide = await visit(1280, "light");
await picture(wide, "wide-light");
const seen = { wide: await size(wide), dead: await deadLinks(wide), searches: {} };
for (const words of ["keep_seconds", "IDLE workers", "xyzzy"]) seen.searches[words] = await searched(wide, words);
await wide.close();

const narrow = await visit(400, "light", "#submitTranscription");
await picture(narrow, "narrow-light");
seen.narrow = await size(narrow);
await narrow.evaluate(() => (document.querySelector("[rel=stylesheet]").disabled = true));
await picture(narrow, "narrow-light-without-style");
await narrow.close();

const wideDark = await visit(1280, "dark", "#submitTranscription");
await picture(wideDark, "wide-dark");
await wideDark.evaluate(() => document.querySelector("nav").remove());
await picture(wideDark, "wide-dark-without-contents");
await wideDark.close();

const narrowDark = await visit(400, "dark");
await narrowDark.click("header button");
await picture(narrowDark, "narrow-dark");
await narrowDark.evaluate(() => document.querySelector("nav").hidePopover());
await picture(narrowDark, "narrow-dark-without-contents");

await browser.close();
console.log(JSON.stringify({ requested, complaints, usableAfter, ...seen }));
