// Describes in a sentence what the user can do about an error.
import { NoOpusError } from "./microphone.js";

const STORAGE_FULL = 10077;
const NO_SERVICE = "No Natscribe runs at this NATS. Start a worker, then press Start.";
const BY_NAME = {
  NotAllowedError: "The page may not use the microphone. Allow it beside the address of the page, then press Start.",
  NotFoundError: "There is no microphone. Connect one, then press Start.",
  NotReadableError: "The microphone does not work, or another program uses it. Close that program, then press Start.",
  AuthorizationError: "NATS refuses this login. Correct user and password under Connection, then press Start.",
  PermissionViolationError: "This user may not transcribe. Take a user with the rights of publisher under Connection, then press Start.",
  ClosedConnectionError: "NATS has ended the connection. Press Start to try again.",
  StreamNotFoundError: NO_SERVICE,
  JetStreamNotEnabled: NO_SERVICE,
  NoResponders: NO_SERVICE,
};

export function problem(error, server) {
  if (!isSecureContext) return "Browsers give the microphone only to pages of https:// or localhost. Open this page there.";
  if (error instanceof NoOpusError) return "This browser cannot record Opus. Use a newer one: Chromium, Firefox, or Safari from 18.4 on.";
  if (error.code === STORAGE_FULL) return "NATS has no room for the audio. It is kept here: leave this page open, and tell your operator.";
  const names = [error.name, error.cause?.name];
  const name = names.find((candidate) => candidate in BY_NAME);
  if (name) return BY_NAME[name];
  if (names.includes("ConnectionError") || names.includes("TimeoutError")) return `NATS does not answer at ${server}. Start it with “natscribe up --websocket”, or correct the address under Connection.`;
  return `${error.message || error.name}. Press Start to try again.`;
}
