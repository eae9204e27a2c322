// What the players of recordings have in common.
const STEP_S = 5;
const OWN_KEYS = "audio, button, input, select, summary, pre, dialog"; // elements that use these keys themselves

// Live audio is stored without its duration, which the browser finds out at its end.
export function findDuration(audio) {
  audio.addEventListener("loadedmetadata", () => {
    if (audio.duration !== Infinity) return;
    audio.addEventListener("seeked", () => (audio.currentTime = 0), { once: true });
    audio.currentTime = Number.MAX_SAFE_INTEGER;
  }, { once: true });
}

// Calls back with the keys that control a player, wherever on the page they are pressed.
export function onPlayerKey(callback) {
  document.addEventListener("keydown", (event) => {
    const isOther = event.ctrlKey || event.altKey || event.metaKey || ![" ", "ArrowLeft", "ArrowRight"].includes(event.key);
    if (!isOther && !event.target.closest(OWN_KEYS) && callback(event)) event.preventDefault();
  });
}

export function control(audio, { key }) {
  if (key !== " ") audio.currentTime += key === "ArrowRight" ? STEP_S : -STEP_S;
  else if (audio.paused) audio.play();
  else audio.pause();
}
