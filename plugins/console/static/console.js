// What every page of the console does in the browser: changes through the API, keys, moments in the reader's zone.
// Pages come from the server; nothing here knows a rule of the business.
"use strict";
(() => {
  const root = document.documentElement.dataset.root;
  const token = document.querySelector('meta[name="csrf"]').content;
  const message = document.getElementById("message");
  const SLOW = 5000; // after which it is said that something takes long
  let hide = 0;
  let leaves = false; // another page is on its way
  let leaving = true; // a page with edits that are not kept is not left without a question

  const say = (text, bad = false) => {
    message.textContent = text;
    message.className = bad ? "bad shown" : "shown";
    clearTimeout(hide);
    hide = setTimeout(() => message.classList.remove("shown"), bad ? 15000 : 6000);
  };

  /** Sends a change. Throws an Error whose message says what is wrong and what to do. */
  const call = async (api, body) => {
    const [method, path] = api.split(" ");
    const answer = await fetch(`${root}/api${path}`, {
      method,
      headers: { "Content-Type": "application/json", "X-Crossdock-CSRF": token },
      body: JSON.stringify(body),
      credentials: "same-origin",
    });
    const text = await answer.text();
    let data = {};
    try { data = JSON.parse(text); } catch { data = { detail: text.slice(0, 300) }; }
    if (!answer.ok) {
      const detail = typeof data.detail === "string" ? data.detail : "";
      throw new Error([detail || `The server answered ${answer.status}.`, data.do].filter(Boolean).join(" "));
    }
    return data;
  };

  /** Shows what a change has done: another page, or this one anew, with the words of the answer kept. */
  const after = (then, data, kept = false) => {
    if (kept) leaving = false;
    const words = data && data.message ? data.message : "Done.";
    if (then === "stay") { say(words); document.body.dispatchEvent(new Event("refresh")); return; }
    try { sessionStorage.setItem("said", words); } catch { /* storage is switched off */ }
    if (!then && data && data.page) then = root + data.page;
    leaves = true;
    if (then) location.assign(then); else location.reload();
  };

  /** Does something that takes its time: that it is under way is said at once, by the button and in the message. */
  const busy = async (element, work) => {
    if (element.ariaBusy === "true") return;
    const label = element.textContent;
    const words = element.dataset.busy || "Working …";
    element.ariaBusy = "true";
    element.disabled = true;
    if (element.matches("button")) element.textContent = words;
    clearTimeout(hide);
    message.textContent = words;
    message.className = "shown working";
    const still = setTimeout(() => { if (message.classList.contains("working")) message.textContent = `${words} It takes longer than usual; it is still under way.`; }, SLOW);
    try { await work(); } catch (error) { say(error.message, true); } finally {
      clearTimeout(still);
      element.ariaBusy = "false";
      element.disabled = false;
      if (element.matches("button")) element.textContent = label;
      if (leaves) message.textContent = words; else if (message.classList.contains("working")) message.classList.remove("shown", "working");
    }
  };

  const values = (form) => {
    const found = {};
    for (const field of form.elements) {
      if (!field.name || field.disabled) continue;
      if (field.type === "checkbox") found[field.name] = field.checked;
      else if (field.type === "number" && field.value !== "") found[field.name] = Number(field.value);
      else found[field.name] = field.value;
    }
    return found;
  };

  // ---- a search form's empty fields ask for nothing
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-lean]")) return;
    for (const field of event.target.elements) if (field.name && field.value.trim() === "") field.disabled = true;
  });

  document.addEventListener("submit", (event) => {
    const form = event.target.closest("form[data-api]");
    if (!form) { if (event.target.id === "edit") event.preventDefault(); return; }
    event.preventDefault();
    if (form.dataset.ask && !confirm(form.dataset.ask)) return;
    const body = { ...values(form), ...JSON.parse(form.dataset.more || "{}") };
    const button = event.submitter || form.querySelector("button") || form;
    busy(button, async () => after(form.dataset.then, await call(form.dataset.api, body), "done" in form.dataset));
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-api]");
    if (!button) return;
    if (button.dataset.ask && !confirm(button.dataset.ask)) return;
    busy(button, async () => {
      const changes = button.dataset.save ? edited() : {};
      const body = JSON.parse(button.dataset.body || "{}");
      if (Object.keys(changes).length) {
        const made = await call(`POST /letters/${button.dataset.save}/edit`, { changes, seen: body.seen });
        body.seen = made.seen;
        button.dataset.body = JSON.stringify(body);
        for (const field of edit.elements) if (field.name) field.dataset.was = field.value;
      }
      after(button.dataset.then, await call(button.dataset.api, body), Boolean(button.dataset.save));
    });
  });

  // ---- a file that is taken changes what the page says: it is on record before its first byte, at the latest when the
  // reader is back from saying where to put it. A note that is being written stays.
  let taken = false;
  const refresh = () => {
    if (!taken || [...document.querySelectorAll("form[data-api] input")].some((field) => field.value !== field.defaultValue)) return;
    document.body.dispatchEvent(new Event("refresh"));
  };
  document.addEventListener("click", (event) => {
    if (!event.target.closest("a[data-refresh]")) return;
    taken = true;
    for (const wait of [1000, 4000]) setTimeout(refresh, wait);
  });
  addEventListener("focus", () => { refresh(); taken = false; });

  // ---- moments in the reader's zone; UTC stays in the title
  const near = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
  const localise = (within) => {
    for (const time of within.querySelectorAll("time[datetime]:not([data-local])")) {
      const at = new Date(time.dateTime);
      if (isNaN(at)) continue;
      time.textContent = near.format(at);
      time.dataset.local = "";
    }
  };
  localise(document);
  const zone = near.resolvedOptions().timeZone;
  document.getElementById("zone").textContent = zone === "UTC" ? "Times are UTC." : `Times are those of ${zone}; hold the pointer over one for UTC.`;
  document.addEventListener("htmx:afterSwap", (event) => localise(event.target));
  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.status === 401) say("You are not logged in any more. Load the page again.", true);
    else say("This part of the page could not be loaded. Load the page again.", true);
  });
  document.addEventListener("htmx:sendError", () => say("The server does not answer.", true));

  try {
    const said = sessionStorage.getItem("said");
    if (said) { sessionStorage.removeItem("said"); say(said); }
  } catch { /* storage is switched off */ }

  // ---- the menu is one row on a phone, which begins at this page's link
  const here = document.querySelector(".top [aria-current]");
  if (here) {
    const row = here.closest("ul");
    row.scrollLeft = here.offsetLeft - row.offsetLeft - (row.clientWidth - here.offsetWidth) / 2;
  }

  // ---- a record that is edited: the verdict on it as one types
  const edit = document.getElementById("edit");
  const verdict = document.getElementById("verdict");
  const edited = () => {
    const changes = {};
    for (const field of edit ? edit.elements : []) {
      if (field.name && field.value !== field.dataset.was) changes[field.name] = field.value;
    }
    return changes;
  };
  const line = (kind, text, name) => {
    const made = document.createElement(kind);
    made.textContent = text;
    if (name) made.className = name;
    return made;
  };
  const WORDS = {
    ready: "It would be sent.", waiting: "It would wait.", left_out: "It would be left out.",
    dead: "It would be refused again.",
  };
  addEventListener("beforeunload", (event) => { if (leaving && Object.keys(edited()).length) event.preventDefault(); });
  let asked = 0;
  let slow = 0;
  /** Says at once that the verdict below is not of what stands in the fields now. */
  const judging = () => {
    verdict.ariaBusy = "true";
    let words = verdict.querySelector(".busy");
    if (!words) { words = line("p", "", "busy"); verdict.querySelector("h2").after(words); }
    words.textContent = "Looking what would become of it …";
    clearTimeout(slow);
    slow = setTimeout(() => { if (words.isConnected) words.textContent = "Still looking: it takes longer than usual …"; }, SLOW);
  };
  const judge = async () => {
    const number = ++asked;
    judging();
    const heading = line("h2", "What would become of it now");
    try {
      const found = await call(`POST /letters/${verdict.dataset.number}/verdict`, { changes: edited() });
      if (number !== asked) return;
      const parts = [heading, line("p", [WORDS[found.state] || found.state, found.why].filter(Boolean).join(" "), `state ${found.state}`)];
      for (const reason of found.reasons) {
        parts.push(line("p", `${reason.says} (${reason.rule.replaceAll("_", " ")})`), line("p", reason.do, "do"));
      }
      if (found.document) {
        const shown = document.createElement("details");
        shown.append(line("summary", "What would be sent"), line("pre", JSON.stringify(found.document, null, 2)));
        parts.push(shown);
      }
      clearTimeout(slow);
      verdict.ariaBusy = "false";
      verdict.replaceChildren(...parts);
    } catch (error) {
      if (number !== asked) return;
      clearTimeout(slow);
      verdict.ariaBusy = "false";
      verdict.replaceChildren(heading, line("p", error.message, "state dead"));
    }
  };
  if (verdict) {
    judge();
    let wait = 0;
    edit.addEventListener("input", (event) => {
      event.target.classList.toggle("changed", event.target.value !== event.target.dataset.was);
      asked++; // what is on its way is about other values
      judging();
      clearTimeout(wait);
      wait = setTimeout(judge, 400);
    });
  }

  // ---- of which groups the cause is gone: it takes a moment, so it is filled in afterwards
  const fillGone = async () => {
    if (!document.querySelector("[data-gone]")) return;
    const answer = await fetch(`${root}/api/letters/gone`, { credentials: "same-origin" });
    const found = answer.ok ? await answer.json() : [];
    for (const { place, passing, looked } of found) {
      const shown = document.getElementById(place);
      if (shown) { shown.textContent = passing ? `${passing} of ${looked}` : "none"; shown.ariaBusy = "false"; }
    }
    for (const shown of document.querySelectorAll('[data-gone] [aria-busy="true"]')) { shown.textContent = "not known"; shown.ariaBusy = "false"; }
  };
  fillGone().catch(() => {});
  document.addEventListener("htmx:afterSwap", () => fillGone().catch(() => {}));

  // ---- keys
  const rows = () => [...document.querySelectorAll("[data-row]")];
  const move = (by) => {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex((row) => row.contains(document.activeElement));
    const row = all[Math.min(Math.max(at + by, 0), all.length - 1)];
    (row.querySelector("[data-open]") || row.querySelector("a, button")).focus();
  };
  const press = (key) => {
    const row = rows().find((each) => each.contains(document.activeElement));
    const target = (row && row.querySelector(`[data-key="${key}"]`)) || document.querySelector(`[data-key="${key}"]`);
    if (!target || (row === undefined && target.closest("[data-row]"))) return false;
    if (target.matches("input")) target.focus(); else target.click();
    return true;
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input, textarea, select, [contenteditable]");
    if (typing) { if (event.key === "Escape") event.target.blur(); return; }
    if (document.querySelector("dialog[open]") || event.target.closest("[data-keys-own]")) return;
    switch (event.key) {
      case "j": move(1); break;
      case "k": move(-1); break;
      case "/": document.getElementById("search").focus(); break;
      case "?": document.getElementById("help").showModal(); break;
      case "e": { const field = document.querySelector(".fault input") || (edit && edit.querySelector("input")); if (!field) return; field.focus(); break; }
      case "r": case "d": case "n": case "o": case "p": case "u": if (!press(event.key)) return; break;
      default: return;
    }
    event.preventDefault();
  });

  window.crossdock = { call, say, after };
})();
