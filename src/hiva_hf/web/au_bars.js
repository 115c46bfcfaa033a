// A press on a bar marks it at once and tells the server, which draws the maps of that AU.
let focused = null;
element.addEventListener("click", (event) => {
  const row = event.target.closest("[data-au]");
  if (!row) return;
  element.querySelectorAll("[data-au]").forEach((other) => other.setAttribute("aria-pressed", other === row));
  trigger("click", { au: row.dataset.au });
  // On a phone the maps stand above the bars.
  if (matchMedia("(max-width: 760px)").matches)
    element.closest(".hiva-result").scrollIntoView({
      behavior: matchMedia("(prefers-reduced-motion)").matches ? "auto" : "smooth",
    });
});
// New values replace the rows; the keyboard's place must survive that (the webcam sends some every second).
element.addEventListener("focusin", (event) => { focused = event.target.closest("[data-au]")?.dataset.au ?? null; });
element.addEventListener("focusout", (event) => { if (event.relatedTarget) focused = null; });
watch("value", () => {
  if (focused && document.activeElement === document.body)
    element.querySelector(`[data-au="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
});
