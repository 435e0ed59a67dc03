// The overview loads itself anew. Whoever writes the reason of a silence is not disturbed; the keyboard's place stays.
"use strict";
(() => {
  const now = document.getElementById("now");
  let place = null;
  document.addEventListener("htmx:beforeRequest", (event) => {
    const asked = event.detail.requestConfig.triggeringEvent;
    const writing = now.querySelector("details[open]");
    if (event.target === now && writing && !(asked && asked.type === "refresh")) event.preventDefault();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const active = document.activeElement;
    place = event.target === now && now.contains(active) ? active.getAttribute("href") : null;
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target !== now || !place) return;
    const link = [...now.querySelectorAll("a")].find((each) => each.getAttribute("href") === place);
    if (link) link.focus({ preventScroll: true });
  });
})();
