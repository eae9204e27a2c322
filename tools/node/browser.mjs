// Chromium or Firefox as a person has it, on a desktop or a phone; the requests and complaints of pages are recorded.
import puppeteer from "puppeteer-core";

const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--font-render-hinting=none"];

export async function start(executablePath, more = []) {
  const isFirefox = executablePath.includes("firefox");
  const kind = isFirefox ? { browser: "firefox" } : { args: [...args, ...more] };
  const browser = await puppeteer.launch({ executablePath, headless: true, ...kind });
  const requested = [];
  const complaints = [];

  async function visit(url, { width = 1280, height = 900, scheme = "light", features = [], isPhone = false } = {}) {
    const page = await browser.newPage();
    if (!isFirefox) await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }, ...features]);
    await page.setViewport({ width, height, isMobile: isPhone, hasTouch: isPhone });
    page.on("request", (request) => requested.push(request.url()));
    page.on("console", (message) => ["error", "warn"].includes(message.type()) && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(error.message));
    // A browser ends requests for a recording as soon as it has enough of it.
    page.on("requestfailed", (request) => request.resourceType() !== "media" && complaints.push(`${request.url()}: ${request.failure().errorText}`));
    await page.goto(url, { waitUntil: "load" });
    await drawn(page);
    return page;
  }
  return { visit, requested, complaints, pages: () => browser.pages(), close: () => browser.close() };
}

export const drawn = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

export async function picture(page, path) {
  await drawn(page);
  await page.screenshot({ path, quality: 40 });
}
