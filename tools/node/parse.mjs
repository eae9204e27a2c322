// Says, as JSON, what @asyncapi/parser finds wrong with a document, however slight.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
console.log(JSON.stringify(diagnostics.map(({ code, message, path, severity }) => ({ code, message, path: path.join("/"), severity }))));
