// Describes in a sentence what the user can do about an error.
import { element } from "./dom.js";
import { NoOpusError } from "./microphone.js";
import { explain, original, t } from "./words.js";

const STORAGE_FULL = [10023, 10047, 10077];
const STREAM_NOT_FOUND = 10059;
const NO_SERVICE = "No Natscribe runs at this NATS. Start a worker, then try again.";
const BY_NAME = {
  NoReplyError: NO_SERVICE,
  NotAllowedError: "The page may not use the microphone. Allow it beside the address of the page, then press Start.",
  NotFoundError: "There is no microphone. Connect one, then press Start.",
  NotReadableError: "The microphone or the file cannot be read. Close other programs that use it, then try again.",
  AuthorizationError: "NATS refuses this login. Correct user and password under Connection.",
  PermissionViolationError: "This user may not do that. Log in as a user with the rights of publisher under Connection.",
  ClosedConnectionError: "NATS has ended the connection. Try again.",
  StreamNotFoundError: NO_SERVICE,
  JetStreamNotEnabled: NO_SERVICE,
  NoResponders: NO_SERVICE,
  NoRespondersError: NO_SERVICE,
};

const OUTAGES = ["ConnectionError", "ClosedConnectionError", "TimeoutError", ...Object.keys(BY_NAME).filter((name) => BY_NAME[name] === NO_SERVICE)];

// Whether an error lasts as long as NATS or all workers are away.
export const isOutage = ({ name, code, cause }) => code === STREAM_NOT_FOUND || [name, cause?.name].some((each) => OUTAGES.includes(each));

// Removes what was shown of an outage that is over.
export function endOutage() {
  for (const node of document.querySelectorAll(".outage")) node.replaceChildren();
}

// Shows the sentence, and what the service has said if that is in other words.
export function showProblem(node, error, server) {
  const said = error.name === "ServiceError" ? original(error) : "";
  const more = said ? [element("details", {}, element("summary", {}, t("What the service says")), element("p", { lang: "en" }, said))] : [];
  const sentence = problem(error, server);
  node.classList.toggle("outage", isOutage(error));
  if (node.firstChild?.textContent !== sentence) node.replaceChildren(sentence, ...more);
}

export function problem(error, server) {
  if (error instanceof NoOpusError) return t("This browser cannot record Opus. Use a newer one: Chromium, Firefox, or Safari from 18.4 on.");
  const code = error.code ?? error.cause?.code;
  if (STORAGE_FULL.includes(code)) return t("NATS has no room. Nothing is lost: leave this page open, tell your operator, then try again.");
  if (code === STREAM_NOT_FOUND) return t(NO_SERVICE);
  if (error.name === "ServiceError") return explain(error);
  const names = [error.name, error.cause?.name];
  const name = names.find((candidate) => candidate in BY_NAME);
  if (name) return t(BY_NAME[name]);
  if (names.includes("ConnectionError") || names.includes("TimeoutError")) return t("NATS does not answer at {server}. Start it with “natscribe up” (or “make up”), or correct the address under Connection.", { server });
  return `${error.message || error.name}.`;
}
