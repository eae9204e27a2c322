// The state of a task, in words: for the list and for the page of a task.
import { clock } from "./dom.js";
import { date, explain, percent, size, t } from "./words.js";

const NAMES = {
  uploading: "Uploading", interrupted: "Interrupted", unsent: "Not sent", scheduled: "Scheduled", queued: "Waiting", running: "Running",
  retrying: "Trying again", completed: "Done", failed: "Failed", cancelled: "Cancelled",
};
const UNREPORTED_S = 25; // a worker reports every ten seconds
const STAGES = { fetching: "Reading the recording", decoding: "Determining the duration", transcribing: "Transcribing", diarizing: "Finding the speakers", merging: "Assigning the speakers" };

export const stateName = ({ state }) => t(NAMES[state] ?? state);

export function describe(task, isConnected) {
  const { state, stage, isElsewhere, sent, size: bytes, queue_position, seconds_ahead, not_before, attempt, error } = task;
  switch (state) {
    case "uploading":
      if (isElsewhere) return t("Another tab uploads it.");
      if (!isConnected) return t("The connection is lost: the upload continues when it is back.");
      return t("{sent} of {size}", { sent: size(sent ?? 0), size: size(bytes ?? 0) });
    case "interrupted":
      return t("The upload was interrupted. Choose the same file again, and it continues.");
    case "scheduled":
      return not_before ? t("starts at {date}", { date: date(not_before) }) : "";
    case "queued": {
      const place = queue_position ? t("place {place}", { place: queue_position }) : "";
      const ahead = seconds_ahead ? t("{time} of audio ahead", { time: clock(seconds_ahead) }) : "";
      return [place, ahead].filter(Boolean).join(", ") || t("A worker takes it as soon as one is free.");
    }
    case "running": {
      const what = t(STAGES[stage] ?? "Transcribing");
      const part = share(task);
      return [what, part === null ? "" : percent(part), part === null ? "" : left(task), attempt > 1 ? t("attempt {attempt}", { attempt }) : ""].filter(Boolean).join(", ");
    }
    default:
      return error ? explain(error) : "";
  }
}

// How much time is left; until that is known, how much of the audio the stage has been through.
function left({ eta_seconds: seconds, estimate, processed_seconds: done, duration_seconds: whole }) {
  if (!seconds || !estimate?.isFair) return whole && Number.isFinite(done) ? t("{done} of {whole}", { done: clock(done), whole: clock(whole) }) : "";
  return seconds < 90 ? t("about {seconds} s left", { seconds: Math.ceil(seconds) }) : t("about {minutes} min left", { minutes: Math.round(seconds / 60) });
}

// From 0 to 1; null: there is nothing to show.
export function share({ task_id, audio_file_id, state, progress, isElsewhere, sent, size: bytes }) {
  if (isElsewhere || audio_file_id === task_id) return null; // nobody knows how long people will speak
  if (state === "uploading") return bytes ? (sent ?? 0) / bytes : 0;
  return state === "running" || state === "retrying" ? (progress ?? 0) / 100 : null;
}

// What a task does of which nothing else is seen: it runs without text yet, or nobody reports on it.
export function explainWait(task, hasText) {
  const { state, runningSince, reportedAt } = task;
  const silence = Math.floor((Date.now() - reportedAt) / 1000);
  if (state !== "running") return "";
  if (silence >= UNREPORTED_S) return t("No report for {seconds} s. If its worker is lost, another one continues after the last text.", { seconds: silence });
  return hasText || share(task) === null ? "" : t("Running for {time}. The first text takes longest, and the rest comes passage by passage.", { time: clock(Math.max(0, Date.now() - runningSince) / 1000) });
}
