// Recordings in an Object Store bucket of NATS: an object is a message of metadata, and messages of its chunks.
import { sha256 } from "./nats.js";
import { t } from "./words.js";

const CHUNK_BYTES = 256 * 1024; // hashing and copying one takes a few milliseconds of the page
const FINAL_CODES = [10023, 10047, 10059, 10077]; // no room, or no stream; publishing again does not help
const FINAL_NAMES = ["PermissionViolationError", "ClosedConnectionError", "StreamNotFoundError"];
const PAUSE_MS = 500;

const base64Url = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_");
const utf8 = new TextEncoder();

// A loop, since Uint8Array.from() calls back for each byte, which blocks the page for 40 to 150 ms a chunk.
function fromBase64(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = characters.charCodeAt(at);
  return bytes;
}

// A file that was changed or removed after it was chosen, or a folder; the browser reads it no more.
export class UnreadableFileError extends Error {}

const read = (part) => part.arrayBuffer().catch(() => {
  throw new UnreadableFileError(t("The file cannot be read, or is a folder: choose a file again"));
});

export class Bucket {
  constructor(connection, name) {
    this.connection = connection;
    this.name = name;
  }

  // Uploads a file in chunks, and continues after a lost connection; `nuid` names the chunks of an upload, so that the
  // same call continues an earlier one. Throws an AbortError when the signal aborts it.
  async put(file, name, nuid, onProgress, signal) {
    const digest = sha256.create();
    const object = { bucket: this.name, name, file: file.name };
    const chunkBytes = Math.min(CHUNK_BYTES, this.connection.nats.info?.max_payload ?? CHUNK_BYTES);
    const slow = (error) => (error.name === "TimeoutError" ? this.#repeated(signal, () => this.#storedChunks(nuid)) : Promise.reject(error)); // other uploads fill the network
    let [chunks, stored] = [0, await this.#storedChunks(nuid).catch(slow)];
    for (let start = 0; start < file.size; start += chunkBytes, chunks++) {
      const bytes = new Uint8Array(await read(file.slice(start, start + chunkBytes)));
      digest.update(bytes);
      while (chunks >= stored) stored = await this.#store(bytes, nuid, chunks, object, signal);
      signal.throwIfAborted();
      onProgress(Math.min(start + chunkBytes, file.size));
    }
    const sum = `SHA-256=${base64Url(new Uint8Array(digest.arrayBuffer()))}`;
    const options = { max_chunk_size: chunkBytes };
    const meta = { name, bucket: this.name, nuid, size: file.size, chunks, digest: sum, mtime: new Date().toISOString(), options };
    await this.#repeated(signal, () => this.connection.publish(this.#meta(name), meta, { id: `${nuid}-meta`, more: { "Nats-Rollup": "sub" }, object }));
  }

  // Returns the recording, or throws if the bucket does not have it.
  async get(name, onProgress = () => {}) {
    const { data } = await this.#message({ last_by_subj: this.#meta(name) });
    const { nuid, size } = JSON.parse(new TextDecoder().decode(data));
    const parts = [];
    let received = 0;
    for (let seq = 1; received < size; ) {
      const chunk = await this.#message({ seq, next_by_subj: this.#chunks(nuid) }, { bucket: this.name, name, isChunk: true });
      parts.push(chunk.data);
      received += chunk.data.length;
      seq = chunk.seq + 1;
      onProgress(received, size);
    }
    return new Blob(parts);
  }

  // Removes the chunks of an upload that is not continued.
  async discard(nuid) {
    await this.connection.request(`$JS.API.STREAM.PURGE.OBJ_${this.name}`, { filter: this.#chunks(nuid) });
  }

  // Returns the number of chunks that are stored after an attempt to store this one.
  async #store(bytes, nuid, number, object, signal) {
    try {
      await this.connection.publish(this.#chunks(nuid), bytes, { id: `${nuid}-${number}`, object: { ...object, isChunk: true } });
      return number + 1;
    } catch (error) {
      throwIfFinal(error);
    }
    return this.#repeated(signal, () => this.#storedChunks(nuid)); // it may be stored, although no acknowledgement came
  }

  async #storedChunks(nuid) {
    const subject = this.#chunks(nuid);
    const { state } = await this.#api("STREAM.INFO", { subjects_filter: subject });
    return state.subjects?.[subject] ?? 0;
  }

  async #message(which, object) {
    const { message } = await this.#api("STREAM.MSG.GET", which, object);
    return { seq: message.seq, data: fromBase64(message.data ?? "") };
  }

  #api(what, body, object) {
    return this.connection.request(`$JS.API.${what}.OBJ_${this.name}`, body, { object });
  }

  // Repeats a call until it succeeds, as after an outage, or until that is hopeless.
  async #repeated(signal, call) {
    while (true) {
      signal.throwIfAborted();
      await this.connection.connected();
      try {
        return await call();
      } catch (error) {
        throwIfFinal(error);
        await new Promise((done) => setTimeout(done, PAUSE_MS));
      }
    }
  }

  #chunks(nuid) {
    return `$O.${this.name}.C.${nuid}`;
  }

  #meta(name) {
    return `$O.${this.name}.M.${base64Url(utf8.encode(name))}`;
  }
}

function throwIfFinal(error) {
  const names = [error.name, error.cause?.name];
  if (FINAL_CODES.includes(error.code ?? error.cause?.code) || names.some((name) => FINAL_NAMES.includes(name))) throw error;
}
