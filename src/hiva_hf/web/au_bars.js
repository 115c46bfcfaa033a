// A click on a bar marks it at once and notifies the server, which draws the maps of that AU.
let focused = null;
element.addEventListener("click", (event) => {
  const row = event.target.closest("[data-au]");
  if (!row) return;
  element.querySelectorAll("[data-au]").forEach((other) => other.setAttribute("aria-pressed", other === row));
  trigger("click", { au: row.dataset.au });
  // On a phone, the maps are above the bars.
  if (matchMedia("(max-width: 760px)").matches)
    element.closest(".hiva-result").scrollIntoView({
      behavior: matchMedia("(prefers-reduced-motion)").matches ? "auto" : "smooth",
    });
});
// New values replace the rows; the keyboard focus must survive this (the webcam sends values every second).
element.addEventListener("focusin", (event) => { focused = event.target.closest("[data-au]")?.dataset.au ?? null; });
element.addEventListener("focusout", (event) => { if (event.relatedTarget) focused = null; });
watch("value", () => {
  if (focused && document.activeElement === document.body)
    element.querySelector(`[data-au="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
});
