// Whether the visitor has begun something: then no model is changed under their hands.
window.espalierBegun = false;
const WORK = { input: "input, textarea, select", keydown: "input, textarea, select", click: "button", pointerdown: "[role=option]" };
for (const [kind, what] of Object.entries(WORK)) {
  document.addEventListener(kind, (event) => {
    if (event.key === "Tab" || event.key === "Escape") return;
    const target = event.target instanceof Element ? event.target.closest(what) : null;
    // Looking round is no beginning: tabs, what folds open, the foot of the page, and the notice itself.
    if (target && !target.closest("#notice, [role=tablist], .label-wrap, footer")) window.espalierBegun = true;
  }, true);
}
