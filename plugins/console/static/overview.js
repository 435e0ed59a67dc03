// The overview loads itself anew. Whoever writes the reason of a silence is not disturbed; the keyboard's place stays.
"use strict";
(() => {
  const now = document.getElementById("now");
  let place = null;
  let opened = []; // groups of alerts that somebody reads
  document.addEventListener("htmx:beforeRequest", (event) => {
    const asked = event.detail.requestConfig.triggeringEvent;
    const writing = now.querySelector("details[open]:not(.group)");
    if (event.target === now && writing && !(asked && asked.type === "refresh")) event.preventDefault();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.target === now) opened = [...now.querySelectorAll("details.group[open]")].map((each) => each.id);
    const active = document.activeElement;
    place = event.target === now && now.contains(active) ? active.getAttribute("href") : null;
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.target !== now) return;
    for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
    if (!place) return;
    const link = [...now.querySelectorAll("a")].find((each) => each.getAttribute("href") === place);
    if (link) link.focus({ preventScroll: true });
  });
})();
