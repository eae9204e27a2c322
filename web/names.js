// Names of files, which may be hostile: as they are shown, and as a part of the name of an object.
const MAX_BYTES = 200; // of UTF-8: the object, without the id of its task, may become the name of a file
const RESERVED = /[\\/:*?"<>|]/g; // in paths, or in names of files of some system
const INVISIBLE = /(?![\u200c\u200d])\p{Cf}|\p{Cs}/gu; // turns text around, or hides in it; Persian and emoji need two of them
const utf8 = new TextEncoder();

// A name in one line, without control characters.
export const shownName = (name) => name.normalize("NFC").replace(INVISIBLE, "").replace(/[\p{Cc}\p{Z}]+/gu, " ").trim();

// The same, short enough and without what paths consist of.
export function objectName(name) {
  const plain = shownName(name).replace(RESERVED, "_");
  if (utf8.encode(plain).length <= MAX_BYTES) return plain;
  const suffix = `…${plain.match(/\.\w{1,10}$/)?.[0] ?? ""}`;
  const { read } = utf8.encodeInto(plain, new Uint8Array(MAX_BYTES - utf8.encode(suffix).length));
  return plain.slice(0, read) + suffix;
}
