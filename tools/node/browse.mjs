// Opens a page in Chromium as a person would, three times, and says as JSON what was seen:
// node browse.mjs CHROMIUM URL SCREENSHOT
import puppeteer from "puppeteer-core";

const [executablePath, url, screenshot] = process.argv.slice(2);
const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"];
const browser = await puppeteer.launch({ executablePath, headless: true, args });
const requested = [];
const complaints = [];
const usableAfter = []; // seconds

async function visit() {
  const page = await browser.newPage();
  await page.setViewport({ width: 1440, height: 1000 });
  page.on("request", (request) => requested.push(request.url()));
  page.on("console", (message) => ["error", "warn"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("requestfailed", (request) => complaints.push(`${request.url()}: ${request.failure().errorText}`));
  const begun = performance.now();
  await page.goto(url, { waitUntil: "load" });
  await page.waitForSelector("#operations", { timeout: 20_000 }).catch((error) => complaints.push(error.message));
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  usableAfter.push((performance.now() - begun) / 1000);
  return page;
}

await (await visit()).close();
await (await visit()).close();
const page = await visit();
await page.screenshot({ path: screenshot });

// Each link of the side bar is followed: what it leads to has to come into sight.
const links = await page.$$eval(".sidebar a[href^='#']", (found) => found.map((link) => link.getAttribute("href")));
const dead = [];
for (const link of links) {
  await page.$eval(`.sidebar a[href="${link}"]`, (found) => found.click());
  const seen = await page.evaluate((id) => {
    const place = document.getElementById(id)?.getBoundingClientRect();
    return Boolean(place) && place.top < window.innerHeight && place.bottom > 0;
  }, decodeURIComponent(link.slice(1)));
  if (!seen) dead.push(link);
}
const text = await page.evaluate(() => document.body.innerText);
await browser.close();
console.log(JSON.stringify({ requested, complaints, usableAfter, links, dead, text }));
