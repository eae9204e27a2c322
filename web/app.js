// Starts the page: connects it to NATS, and shows what its address names.
import { Connection } from "./connection.js";
import { byId, notice, say, setText } from "./dom.js";
import { Inspector } from "./inspector.js";
import { startLive } from "./live_page.js";
import { Options } from "./options.js";
import { endOutage, problem } from "./problems.js";
import { TaskList } from "./task_list.js";
import { TaskPage } from "./task_page.js";
import { Tasks } from "./tasks.js";
import { Uploads } from "./uploads.js";
import { t, translate } from "./words.js";

const RETRY_MS = 2000;
const CHECK_MS = 5000; // how often a page without a connection checks whether NATS has another address
const LONG_MS = 10_000; // without a connection
const settings = await fetch("settings.json").then((reply) => reply.json()).catch(() => ({}));
translate(document);

const connection = new Connection();
const tasks = new Tasks(connection, settings);
const uploads = new Uploads(tasks, settings);
const inspector = new Inspector();
const options = new Options(byId("task-options"));
const page = new TaskPage(tasks, uploads);
new TaskList(tasks);
connection.onMessage = (message) => inspector.add(message);

const login = () => ({ ...settings, server: byId("server").value, user: byId("user").value, password: byId("password").value });
let attempts = 0; // of connecting; a newer one replaces those before
let lostAt = null; // when the last connection was lost
let outage = ""; // what to do without a connection
let listProblem = null; // the error, while the list cannot be read

// Connects, and tries again until it succeeds or the login is refused.
async function open() {
  const attempt = ++attempts;
  while (attempt === attempts) {
    try {
      connection.server = byId("server").value;
      await connection.open(login());
      if (attempt !== attempts) return;
      tasks.listen();
      return;
    } catch (error) {
      if (attempt !== attempts) return;
      showOutage(problem(error, connection.server));
      byId("connection").open ||= error.name === "AuthorizationError";
      if (error.name === "AuthorizationError") return;
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }
}

// Says what is wrong with the connection now; nothing remains of what was wrong before.
function showProblem() {
  const { isConnected, isServed } = connection;
  const sentence = !isConnected ? outage : !isServed ? alone() : listProblem ? problem(listProblem, connection.server) : "";
  setText(byId("connection-problem"), sentence);
  byId("connection-problem").hidden = !sentence;
}

function showOutage(sentence) {
  outage = sentence;
  showProblem();
}

// Without a worker nobody replies, but recordings and tasks are stored.
function alone() {
  if (!byId("live").hidden) return t("No worker replies. What you say is stored, and becomes text when one runs.");
  if (!byId("task").hidden) return t("No worker replies. This page continues as soon as one does.");
  return settings.bucket === null ? t("No worker replies: start one.") : t("No worker replies. Recordings that you drop here are stored, and transcribed when one runs.");
}

function showConnection() {
  setText(byId("link"), connection.isConnected ? t("Connected") : t("Not connected"));
  document.body.classList.toggle("offline", !connection.isConnected);
  lostAt = connection.isConnected ? null : Date.now();
  listProblem = null;
  showOutage("");
  endOutage();
}

// The service may have been started again at another port, which only a page that is loaded again may connect to.
async function checkAddress() {
  if (connection.isConnected || byId("server").value !== settings.server) return;
  const { server } = await fetch("settings.json", { cache: "no-store" }).then((reply) => reply.json()).catch(() => settings);
  if (connection.isConnected) return;
  if (server !== settings.server && !uploads.isBusy && !isRecording()) location.reload();
  else if (server !== settings.server) showOutage(t("Natscribe has been started again at another address. Load this page again, and choose the files again that are not uploaded."));
  else if (connection.nats && Date.now() - lostAt > LONG_MS) showOutage(longOutage(server));
}

function longOutage(server) {
  return ["localhost", "127.0.0.1"].includes(location.hostname)
    ? t("NATS has not answered at {server} for a while. Start “natscribe up” (or “make up”) again in its folder: this page then continues, or open the address that the command prints.", { server })
    : t("For a while, NATS has not answered at {server}. Check your network, or tell your operator: this page continues as soon as NATS answers.", { server });
}

// Addresses: #task/ID is a task, #live the microphone, and everything else the recordings.
function route() {
  const [, view, id] = location.hash.match(/^#(\w*)\/?([\w-]*)$/) ?? [];
  const shown = view === "task" && id ? "task" : view === "live" ? "live" : "recordings";
  for (const name of ["recordings", "task", "live"]) {
    byId(name).hidden = name !== shown;
    if (name !== "task") byId(`to-${name}`).ariaCurrent = name === shown ? "page" : null;
    if (name === "recordings" && shown === "task") byId("to-recordings").ariaCurrent = "true"; // the task is one of its list
  }
  if (shown !== "task") document.title = `${shown === "live" ? t("Live") : t("Recordings")} · Natscribe`;
  page.open(shown === "task" ? id : null);
  showProblem();
  inspector.select(shown === "task" ? id : null);
}

let waiting = []; // files that were chosen while an option was not valid

function add(files) {
  if (!files.length || settings.bucket === null) return;
  const given = options.read();
  waiting = given ? [] : files;
  showWaiting();
  if (!given) return;
  const ids = files.map((file) => uploads.add(file, given));
  if (ids.length === 1) location.hash = `#task/${ids[0]}`;
}

function showWaiting() {
  byId("waiting").hidden = waiting.length === 0;
  setText(byId("waiting"), waiting.length ? t("{names}: not sent yet, until the marked option is corrected.", { names: waiting.map(({ name }) => name).join(", ") }) : "");
}

byId("server").value = settings.server ?? "";
byId("connection-form").addEventListener("submit", (event) => {
  event.preventDefault();
  open();
});
byId("files").addEventListener("change", ({ target }) => {
  add([...target.files]);
  target.value = "";
});
for (const [name, isOver] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  addEventListener(name, (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.toggle("dropping", isOver);
    if (name === "drop") add([...event.dataTransfer.files]);
  });
}
byId("task-options").addEventListener("change", () => options.isValid && add(waiting));
addEventListener("hashchange", () => {
  for (const clear of [say, notice]) clear(""); // it was about another page
  route();
});
byId("connection").addEventListener("keydown", ({ key, currentTarget }) => {
  if (key !== "Escape") return;
  currentTarget.open = false;
  currentTarget.firstElementChild.focus();
});
addEventListener("beforeunload", (event) => uploads.isBusy && event.preventDefault());
for (const event of ["connected", "disconnected"]) connection.addEventListener(event, showConnection);
for (const event of ["served", "unserved"]) connection.addEventListener(event, showProblem);
connection.addEventListener("served", endOutage);
tasks.addEventListener("refreshed", ({ detail }) => {
  listProblem = detail;
  showProblem();
});
const isRecording = startLive({ settings, login, connection, onMessage: connection.onMessage });
byId("files").disabled = settings.bucket === null;
byId("no-bucket").hidden = settings.bucket !== null;
byId("drop").hidden = byId("task-options").hidden = settings.bucket === null;
showConnection();
route();
setInterval(checkAddress, CHECK_MS);
if (isSecureContext) open();
else showOutage(t("Browsers give the microphone and the clipboard only to pages of https:// or localhost. Open this page there."));
