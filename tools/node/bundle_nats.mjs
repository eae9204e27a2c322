// Prints the NATS client as one minified ES module for browsers, as web/nats.js: node bundle_nats.mjs
import { build } from "esbuild";
import { readFileSync } from "node:fs";

const HERE = import.meta.dirname;
const ENTRY = `
  export { headers, nanos, wsconnect } from "@nats-io/nats-core";
  export { jetstream } from "@nats-io/jetstream";
  export { sha256 } from "js-sha256";`;
const { outputFiles, metafile } = await build({
  absWorkingDir: HERE,
  stdin: { contents: ENTRY, resolveDir: HERE },
  bundle: true,
  minify: true,
  format: "esm",
  platform: "browser",
  target: "es2022",
  define: { "process.versions": "undefined" }, // js-sha256 then takes no module of Node
  lineLimit: 1000,
  metafile: true,
  write: false,
});
const names = Object.keys(metafile.inputs).flatMap((path) => path.match(/(?<=^node_modules\/)(@[^/]+\/)?[^/]+/)?.[0] ?? []);
const packages = [...new Set(names)].sort().map((name) => {
  const { version, license } = JSON.parse(readFileSync(`${HERE}/node_modules/${name}/package.json`));
  return ` * ${name} ${version}, ${license}`;
});
process.stdout.write(`/*! NATS client for browsers, bundled and minified by tools/node/bundle_nats.mjs; NOTICE has the copyright lines.
${packages.join("\n")}
 */
${outputFiles[0].text}`);
