// Prints the messages of an AsyncAPI document as TypeScript: node models.mjs asyncapi.yaml
import { readFile } from "node:fs/promises";
import { TypeScriptGenerator } from "@asyncapi/modelina";

const generator = new TypeScriptGenerator({
  modelType: "interface",
  enumType: "union",
  mapType: "record",
  rawPropertyNames: true, // the field names are the wire
  processorOptions: { interpreter: { ignoreAdditionalProperties: true } }, // readers ignore what they do not know
});
const models = await generator.generate(await readFile(process.argv[2], "utf8"));
const named = models.filter(({ modelName }) => !modelName.startsWith("Anonymous")); // those have names that change
console.log("// Generated from asyncapi.yaml by `make spec`.");
console.log(named.map(({ result }) => `export ${result}`).sort().join("\n"));
