// Ctrl+Enter runs the visible tab, Esc stops it: the buttons are pressed for the visitor, so that both ways are one.
document.addEventListener("keydown", (event) => {
  const wanted =
    event.key === "Enter" && (event.ctrlKey || event.metaKey) ? "button.run" : event.key === "Escape" ? "button.stop" : null;
  if (wanted === null || event.isComposing) return;
  const buttons = [...document.querySelectorAll(wanted)];
  const button = buttons.find((candidate) => candidate.offsetParent !== null && !candidate.disabled);
  if (!button) return;
  event.preventDefault();
  // Gradio hands a field's text on when it changes; the pressed button then sends what is on the screen.
  button.click();
});
