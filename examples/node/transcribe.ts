// Upload a recording, publish a task, follow it, print the text: npm install && npm start -- RECORDING
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { jetstream } from "@nats-io/jetstream";
import { Objm } from "@nats-io/obj";
import { connect } from "@nats-io/transport-node";
import type { ProgressEvent, ResultRequest, TranscriptionTask } from "./models.js"; // generated from asyncapi.yaml

const recording = await readFile(process.argv[2] ?? "");
const env = process.env;
const nc = await connect({
  servers: (env["NATS_URL"] ?? "nats://localhost:4222").split(","),
  inboxPrefix: env["NATS_INBOX_PREFIX"] ?? "_INBOX",
  ...(env["NATS_USER"] && { user: env["NATS_USER"], pass: env["NATS_PASSWORD"] ?? "" }),
  ...(env["NATS_TLS_CA_FILE"] && { tls: { caFile: env["NATS_TLS_CA_FILE"] } }),
});
const js = jetstream(nc, { checkAPI: false }); // a publisher has no permission for $JS.API.INFO
const task_id = randomUUID(); // a new id for each task: an existing id has no effect

await (await new Objm(js).open("audio")).putBlob({ name: task_id }, recording);
const task: TranscriptionTask = { task_id, audio_file_id: task_id, user_id: 1, diarize: true };
await js.publish("tasks.transcription.normal", JSON.stringify(task), { msgID: task_id });

const progress = await js.consumers.get("transcription_progress", { filter_subjects: `progress.${task_id}` });
for await (const message of await progress.consume()) { // ordered, from the first event on
  const event = message.json<ProgressEvent>();
  console.log(event.state, event.stage, event.progress, "%");
  process.exitCode = event.state === "completed" ? 0 : 1; // of a failed task, the result is its error
  if (["completed", "failed", "cancelled"].includes(event.state)) break;
}

const request: ResultRequest = { task_id, format: "txt" };
console.log((await nc.request("tasks.result", JSON.stringify(request))).string());
await nc.close();
