// The dialog that names a speaker of a result: in this transcript, or by enrolling the voice, with the consent that this requires.
import { byId, setText } from "./dom.js";
import { knownOf } from "./known.js";
import { shownName } from "./names.js";
import { showProblem } from "./problems.js";
import { locale, t } from "./words.js";

const NEEDED_S = 15;
const tooShort = "{speaker} speaks alone for only {seconds} s, and 15 s are needed. Enrol this person from a longer recording.";

export const isUnnamed = (speaker) => /^SPEAKER_\d+$/.test(speaker);

const SIMILAR = /is similar to the voice (\w+)/;
// What the service says to programs, and what the page says to people.
const REASONS = [
  { says: /says only (?<seconds>[\d.]+) s alone/, means: tooShort },
  { says: /sounds like two people/, means: "{speaker} sounds like two people. Enrol this person from a recording in which nobody else speaks." },
  { says: /^No embeddings/, means: "This recording is no longer known well enough. Transcribe it again with “Names of known voices”, then enrol the person within seven days." },
  { says: SIMILAR, means: "{speaker} sounds like a person who is enrolled already. Try again in a moment." },
  { says: /^The user has no voice/, means: "That voice was forgotten in the meantime. Enrol the person as a new one." },
];

// Why a speaker with so many seconds of speech cannot be enrolled; null: perhaps the speaker can.
export const obstacle = (speaker, seconds) => (seconds < NEEDED_S ? t(tooShort, { speaker, seconds: Math.floor(seconds) }) : null);

// Opens the dialog; calls `onDone` with a sentence about what was done, and the name. `canEnrol`: whether the task has
// what enrolling needs; `obstacle`: why this speaker cannot be enrolled all the same.
export function nameOrEnrol(tasks, taskId, speaker, { canEnrol, obstacle }, onDone) {
  const dialog = byId("enrol");
  const form = dialog.querySelector("form");
  const { name, by } = form.elements;
  let known = null; // the enrolled person whose voice is similar: { voice, name }

  const show = (sentence) => {
    setText(byId("enrol-problem"), sentence);
    byId("enrol-add").hidden = !known;
    if (known) setText(byId("enrol-add"), t("Add to {name}", known));
    setText(byId("enrol-new"), known ? t("Enrol as another person") : t("Enrol"));
    check();
  };
  const check = () => name.setCustomValidity(known && isSame(name.value, known.name) ? t("{name} is the name of another person: choose another one.", known) : "");
  const send = async (who, sentence) => {
    const consent = { by: by.value.trim(), at: new Date().toISOString() };
    try {
      await tasks.connection.request("voices.enroll", { user_id: tasks.userId, task_id: taskId, speaker, consent, ...who });
      dialog.close();
      onDone(sentence, known && !who.name ? known.name : who.name);
    } catch (error) {
      const voice = error.message.match(SIMILAR)?.[1];
      known = voice ? await personOf(tasks, voice).catch(() => null) : null;
      const sentence = reason(error, speaker, known);
      show(sentence ?? "");
      if (!sentence) showProblem(byId("enrol-problem"), error, tasks.connection.server);
    }
  };

  form.reset();
  name.value = knownOf(taskId).names?.[speaker] ?? "";
  setText(byId("enrol-obstacle"), obstacle ?? "");
  byId("enrol-obstacle").hidden = !canEnrol || !obstacle;
  byId("enrol-voice").hidden = by.disabled = !canEnrol || obstacle !== null;
  setText(byId("enrol-title"), t("Who is {speaker}?", { speaker }));
  show("");
  name.oninput = check;
  by.onkeydown = (event) => { // Enter there means the button below it, and not the first one of the form
    if (!["Enter"].includes(event.key)) return;
    event.preventDefault();
    form.requestSubmit(byId("enrol-new"));
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    const given = shownName(name.value);
    if (event.submitter === byId("enrol-here")) {
      dialog.close();
      return onDone(given ? t("{name} is the name in this transcript.", { name: given }) : t("{speaker} has no name any more.", { speaker }), given);
    }
    return send({ name: given, ...(known ? { another: true } : {}) }, t("{name} is enrolled: this transcript and the next recordings show the name.", { name: given }));
  };
  byId("enrol-add").onclick = () => by.reportValidity() && send({ voice: known.voice }, t("This recording is added to {name}: the next ones show the name more reliably.", known));
  byId("enrol-cancel").onclick = () => dialog.close();
  dialog.showModal();
}

const isSame = (one, other) => one.trim().toLowerCase() === other.trim().toLowerCase();

// The enrolled person with this voice; null if there is none.
async function personOf({ connection, userId }, voice) {
  for (let after = 0; after !== null; ) {
    const { voices, more_after } = await connection.request("voices.list", { user_id: userId, after });
    const person = voices.find((other) => other.voice === voice);
    if (person) return person;
    after = more_after;
  }
  return null;
}

// Why an enrolment was refused, in the words of the page; null: for another reason than those above.
function reason({ message }, speaker, known) {
  if (known) return t("{name} is enrolled already, and {speaker} sounds the same. Add this recording to {name}, or choose another name if this is another person.", { name: known.name, speaker });
  for (const { says, means } of REASONS) {
    const match = message.match(says);
    if (match) return t(means, { seconds: Number(match.groups?.seconds).toLocaleString(locale), speaker });
  }
  return null;
}
