// Shows the document. The viewer wants it without references and marked as parsed.
"use strict";

const viewer = document.getElementById("viewer");

function resolved(root) {
  const known = new Map();
  const follow = (reference) =>
    reference.slice(2).split("/").reduce((node, part) => node[part.replaceAll("~1", "/").replaceAll("~0", "~")], root);

  function resolve(node) {
    if (node === null || typeof node !== "object") return node;
    if (known.has(node)) return known.get(node);
    if (typeof node.$ref === "string") {
      const { $ref: reference, ...beside } = node;
      const target = resolve(follow(reference));
      const found = Object.keys(beside).length ? { ...target, ...resolve(beside) } : target;
      known.set(node, found);
      return found;
    }
    const copy = Array.isArray(node) ? [] : {};
    known.set(node, copy);
    for (const [key, value] of Object.entries(node)) copy[key] = resolve(value);
    return copy;
  }
  return resolve(root);
}

function named(contract) {
  const mark = (nodes) => Object.entries(nodes ?? {}).forEach(([name, node]) => { node["x-parser-unique-object-id"] = name; });
  mark(contract.channels);
  mark(contract.operations);
  for (const channel of Object.values(contract.channels)) mark(channel.messages);
  for (const [name, schema] of Object.entries(contract.components.schemas)) schema["x-parser-schema-id"] = name;
  contract.info["x-nats"] = contract["x-nats"]; // the viewer has no place for it at the root
  return Object.assign(contract, { "x-parser-api-version": 3, "x-parser-spec-parsed": true });
}

async function show() {
  const answer = await fetch("asyncapi.json");
  if (!answer.ok) throw new Error(`asyncapi.json: ${answer.status}`);
  const schema = named(resolved(await answer.json()));
  const config = { show: { sidebar: true, errors: false }, expand: { messageExamples: true }, sidebar: { showOperations: "byDefault" } };
  AsyncApiStandalone.render({ schema, config }, viewer);
  viewer.removeAttribute("aria-busy");
}

show().catch((error) => {
  viewer.textContent = `The contract cannot be shown (${error.message}): read asyncapi.yaml instead.`;
  throw error;
});
