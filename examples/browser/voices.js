// The dialog that enrols a speaker of a result by name, with the consent that this requires.
import { byId, setText } from "./dom.js";
import { problem } from "./problems.js";
import { t } from "./words.js";

export const isUnnamed = (speaker) => /^SPEAKER_\d+$/.test(speaker);

// Opens the dialog; calls `onEnrolled` with the name.
export function enrol(tasks, taskId, speaker, onEnrolled) {
  const dialog = byId("enrol");
  const form = dialog.querySelector("form");
  form.reset();
  setText(byId("enrol-title"), t("Who is {speaker}?", { speaker }));
  setText(byId("enrol-problem"), "");
  form.onsubmit = async (event) => {
    event.preventDefault();
    const { name, by, another } = form.elements;
    const consent = { by: by.value.trim(), at: new Date().toISOString() };
    const request = { user_id: tasks.userId, task_id: taskId, speaker, name: name.value.trim(), consent };
    try {
      await tasks.connection.request("voices.enroll", another.checked ? { ...request, another: true } : request);
      dialog.close();
      onEnrolled(request.name);
    } catch (error) {
      setText(byId("enrol-problem"), problem(error, tasks.connection.server));
    }
  };
  byId("enrol-cancel").onclick = () => dialog.close();
  dialog.showModal();
}
