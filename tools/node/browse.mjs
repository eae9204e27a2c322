// Opens the docs page in Chromium as a person would, takes pictures of it, and reports as JSON what was observed:
// node browse.mjs CHROMIUM URL FOLDER
import { picture as take, start } from "./browser.mjs";

const [executablePath, url, folder] = process.argv.slice(2);
const browser = await start(executablePath);
const { requested, complaints } = browser;
const usableAfter = []; // seconds

async function visit(width, scheme, place = "", more = {}) {
  const begun = performance.now();
  const page = await browser.visit(url + place, { width, scheme, ...more });
  usableAfter.push((performance.now() - begun) / 1000);
  return page;
}

const picture = (page, name) => take(page, `${folder}/${name}.webp`);

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

// On a phone, far below the top, the contents are opened, seen, and followed.
const phone = await visit(390, "light", "#receiveResult", { height: 844, isPhone: true });
await phone.tap("header button");
await phone.waitForSelector("nav:popover-open"); // a tap becomes a click after its touches
await picture(phone, "phone-contents");
seen.phone = await phone.evaluate(async () => {
  const nav = document.querySelector("nav");
  const { top, bottom, right } = nav.getBoundingClientRect();
  const link = nav.querySelector("a");
  const place = link.getBoundingClientRect();
  const isHit = document.elementFromPoint(place.left + 1, place.top + 1) === link;
  return { scrolled: scrollY, contents: [top, bottom, right], window: [innerHeight, innerWidth], isHit };
});
await phone.tap("nav a[href='#askStatus']");
await phone.waitForFunction(() => location.hash === "#askStatus" && !document.querySelector("nav").matches(":popover-open"));
seen.phone.led = await phone.evaluate(() => {
  const { top } = document.getElementById("askStatus").getBoundingClientRect();
  return { isOpen: document.querySelector("nav").matches(":popover-open"), isInSight: top > 0 && top < innerHeight / 2 };
});
await phone.close();

await browser.close();
console.log(JSON.stringify({ requested, complaints, usableAfter, ...seen }));
