// The state of a task, in words: for the list and for the page of a task.
import { date, explain, size, t, time } from "./words.js";

const NAMES = {
  uploading: "Uploading", interrupted: "Interrupted", unsent: "Not sent", scheduled: "Scheduled", queued: "Waiting", running: "Running",
  retrying: "Trying again", completed: "Done", failed: "Failed", cancelled: "Cancelled",
};
const STAGES = { fetching: "Reading the recording", decoding: "Determining the duration", transcribing: "Transcribing", diarizing: "Finding the speakers", merging: "Assigning the speakers" };

export const stateName = ({ state }) => t(NAMES[state] ?? state);

export function describe(task, isConnected) {
  const { state, stage, isElsewhere, sent, size: bytes, queue_position, expected_start, not_before, eta_seconds, estimate, attempt, error } = task;
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
      const start = expected_start ? t("starts at about {time}", { time: time(expected_start) }) : "";
      return [place, start].filter(Boolean).join(", ") || t("A worker takes it as soon as one is free.");
    }
    case "running": {
      const what = t(STAGES[stage] ?? "Transcribing");
      return [what, estimate?.isFair ? left(eta_seconds) : "", attempt > 1 ? t("attempt {attempt}", { attempt }) : ""].filter(Boolean).join(", ");
    }
    default:
      return error ? explain(error) : "";
  }
}

function left(seconds) {
  if (!seconds) return "";
  return seconds < 90 ? t("about {seconds} s left", { seconds: Math.ceil(seconds) }) : t("about {minutes} min left", { minutes: Math.round(seconds / 60) });
}

// From 0 to 1; null: there is nothing to show.
export function share({ task_id, audio_file_id, state, progress, isElsewhere, sent, size: bytes }) {
  if (isElsewhere || audio_file_id === task_id) return null; // nobody knows how long people will speak
  if (state === "uploading") return bytes ? (sent ?? 0) / bytes : 0;
  return state === "running" || state === "retrying" ? (progress ?? 0) / 100 : null;
}
