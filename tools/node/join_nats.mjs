// Prints the NATS client as one ES module for browsers, as examples/browser/nats.js: node join_nats.mjs
// The packages have one CommonJS file for each part. Each stays as it is, without the comments on its functions.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const WANTED = { "@nats-io/nats-core": ["headers", "nanos", "wsconnect"], "@nats-io/jetstream": ["jetstream"] };
const require = createRequire(import.meta.url);
const [numbers, parts] = [new Map(), []];

// The number of a file, which is added behind all that it needs; packages that need each other are not expected.
function add(path) {
  if (numbers.has(path)) return numbers.get(path);
  const number = numbers.size;
  numbers.set(path, number);
  const { resolve } = createRequire(path);
  const text = readFileSync(path, "utf8")
    .replace(/^[ \t]*\/\*\*[^]*?\*\/\n/gm, "")
    .replace(/^\/\/# sourceMappingURL.*$/gm, "")
    .replace(/\brequire\("([^"]+)"\)/g, (_, name) => `load(${add(resolve(name))})`)
    .trimEnd();
  parts.push(`// ${path.split("/node_modules/").at(-1)}\n[${number}, function (exports, module) {\n${text}\n}],`);
  return number;
}

const wanted = Object.entries(WANTED).map(([name, names]) => [add(require.resolve(name)), names]);
const packages = new Set([...numbers.keys()].map((path) => path.split("/node_modules/").at(-1).match(/^(@[^/]+\/)?[^/]+/)[0]));
const versions = [...packages].map((name) => `${name} ${require(`../node/node_modules/${name}/package.json`).version}`);
console.log(`// ${versions.sort().join(", ")}, joined by tools/node/join_nats.mjs: see NOTICE.
const parts = new Map([
${parts.join("\n")}
]);
const made = new Map();
function load(number) {
  if (!made.has(number)) {
    const module = { exports: {} };
    made.set(number, module);
    parts.get(number)(module.exports, module);
  }
  return made.get(number).exports;
}`);
for (const [number, names] of wanted) console.log(`export const { ${names.join(", ")} } = load(${number});`);
