// Rules and lookups in the browser: a file as a grid, as a form, as text. The server makes each of them from the text and
// checks every draft; here are only the changes that are not published yet.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const { call, say, after } = window.crossdock;
  const root = document.documentElement.dataset.root;
  let ids = 0;

  /** An element with attributes (on…: a listener) and children; text is never read as HTML. */
  const make = (kind, attributes = {}, ...children) => {
    const made = document.createElement(kind);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (name === "value") made.value = value;
      else made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  };
  const count = (number) => number.toLocaleString("en-GB");
  const get = async (path) => {
    const answer = await fetch(`${root}/api${path}`, { credentials: "same-origin" });
    const data = await answer.json();
    if (!answer.ok) throw new Error([data.detail, data.do].filter(Boolean).join(" "));
    return data;
  };
  const later = (work, pause) => {
    let wait = 0;
    return () => { clearTimeout(wait); wait = setTimeout(work, pause); };
  };
  const working = async (button, words, work) => {
    const label = button.textContent;
    button.disabled = true;
    button.textContent = words;
    try { await work(); } catch (error) { say(error.message, true); } finally {
      button.disabled = false;
      button.textContent = label;
    }
  };

  // ---- what would change

  const SIGNED = /^[+-]/;
  const LEADS = { letter: (text) => `/letters/${text}`, record: (text) => `/record?${new URLSearchParams({ q: text })}` };
  const cell = (column, text) => {
    if (LEADS[column.kind]) return make("td", {}, text ? make("a", { href: root + LEADS[column.kind](text), target: "_blank" }, text) : "–");
    const number = column.kind !== "text";
    const shown = text === "" ? "–" : column.kind === "percent" ? `${text} %` : text;
    const tone = column.name === "Change" && text !== "" ? (text.startsWith("-") ? "down" : "up") : "";
    const signed = column.name === "Change" && text !== "" && !SIGNED.test(text) ? `+${shown}` : shown;
    return make("td", { class: [number ? "number amount" : "", tone].join(" ").trim() || null }, signed);
  };
  const ROWS = 100; // of a table of what changes, at a time
  /** One table of what changes; `add`: what a later look has found of it. */
  const partView = (first) => {
    const all = { ...first, rows: [...first.rows], sums: { ...first.sums } };
    const words = make("p", {});
    const table = make("div", {});
    const element = make("div", {}, make("h3", {}, all.title), words, table);
    let page = 0;
    let wanted = "";
    const say = () => {
      const sums = Object.entries(all.sums).filter(([, value]) => value).map(([name, value]) => `${count(value)} ${name}`);
      const left = Math.max(0, all.there_are - all.looked);
      words.replaceChildren(make("strong", {}, all.total
        ? `${count(all.total)} of ${count(all.looked)} ${all.what} ${all.would}${sums.length ? ` (${sums.join(", ")})` : ""}.`
        : `None of ${count(all.looked)} ${all.what} ${all.would}.`),
      all.total && all.total < all.looked ? ` The other ${count(all.looked - all.total)} stay as they are.` : "",
      all.rest && left ? ` ${count(left)} ${all.what} are not compared yet.` : all.truncated && !all.rest ? ` ${all.truncated}` : "",
      all.words ? ` ${all.words}` : "", all.more ? ` ${all.more}` : "");
    };
    const show = () => {
      if (!all.rows.length) return;
      const found = wanted ? all.rows.filter((row) => row.some((text) => text.toLowerCase().includes(wanted))) : all.rows;
      const pages = Math.max(1, Math.ceil(found.length / ROWS));
      page = Math.min(Math.max(page, 0), pages - 1);
      const from = page * ROWS;
      const head = all.columns.map((column) => make("th", { scope: "col", class: column.kind === "text" || LEADS[column.kind] ? null : "number" }, column.name));
      const rows = found.slice(from, from + ROWS).map((row) => make("tr", {}, ...row.map((text, at) => cell(all.columns[at], text))));
      tools.querySelector("[data-rows]").textContent = found.length
        ? `Rows ${count(from + 1)} to ${count(from + rows.length)} of ${count(found.length)}` : "No row has this.";
      tools.querySelector("[data-back]").disabled = page === 0;
      tools.querySelector("[data-on]").disabled = page >= pages - 1;
      for (const one of tools.querySelectorAll("button")) one.hidden = pages === 1;
      body.replaceChildren(make("table", { class: "list" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows)));
    };
    const find = make("input", { type: "search", placeholder: "Find in rows", "aria-label": `Find in ${all.title}`, oninput: later(() => { wanted = find.value.trim().toLowerCase(); page = 0; show(); }, 200) });
    const turn = (by) => { page += by; show(); body.scrollTop = 0; };
    const tools = make("div", { class: "tools" }, find, make("span", { class: "quiet", "data-rows": true, role: "status" }),
      make("button", { type: "button", "data-back": true, onclick: () => turn(-1) }, "Previous"),
      make("button", { type: "button", "data-on": true, onclick: () => turn(1) }, "Next"));
    const body = make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": all.title });
    const whole = () => {
      if (all.rows.length && !table.childElementCount) table.append(tools, body);
      say();
      show();
    };
    whole();
    return {
      element,
      title: all.title,
      add: (one) => {
        all.looked += one.looked;
        all.total += one.total;
        for (const [name, value] of Object.entries(one.sums)) all.sums[name] = (all.sums[name] || 0) + value;
        Object.assign(all, { rest: one.rest, truncated: one.truncated, there_are: one.there_are });
        all.rows.push(...one.rows);
        whole();
      },
    };
  };

  const AT_ONCE = 20_000; // milliseconds for which further items are compared without being asked to
  /** What would change, in `into`: publishing takes what was shown of the very draft. `changed`: it is another one now. */
  const previews = (into, changed) => {
    let shown = null;
    let looking = 0;
    const look = async (route, body) => {
      const number = ++looking;
      shown = null;
      into.replaceChildren(make("p", { class: "quiet", role: "status" }, "Trying it on stored records …"));
      try {
        let found = await call(`POST ${route}`, body);
        if (number !== looking) return;
        const box = make("section", { class: "effect", "aria-label": "What would change" }, make("h2", {}, "What would change"));
        for (const words of found.words) box.append(make("p", {}, words));
        for (const one of found.problems) box.append(make("p", { class: "finding" }, `${one.path}:${one.line}: ${one.text}`));
        const views = found.parts.map(partView);
        box.append(...views.map((one) => one.element));
        const foot = make("p", { class: "quiet" });
        box.append(foot);
        into.replaceChildren(box);
        box.scrollIntoView({ block: "start" });
        let seconds = found.seconds;
        const keep = () => {
          foot.replaceChildren(`Dry: nothing was sent, no record was changed. ${seconds.toFixed(1)} s.`);
          if (found.number) shown = { key: JSON.stringify([route, body]), number: found.number, changes: found.changes, large: found.large, why: found.why_large };
          changed();
        };
        const goOn = async (until) => {
          while (found.goes_on && performance.now() < until() && number === looking) {
            found = await call(`POST ${route}`, { ...body, preview: found.number });
            if (number !== looking) return;
            seconds += found.seconds;
            for (const one of found.parts) views.find((view) => view.title === one.title).add(one);
            keep();
          }
          if (found.goes_on && number === looking) {
            let stop = false;
            const rest = make("button", { type: "button", onclick: async () => {
              if (rest.dataset.runs) { stop = true; return; }
              rest.dataset.runs = "yes";
              rest.textContent = "Stop comparing";
              await goOn(() => (stop ? 0 : Infinity)).catch((error) => window.crossdock.say(error.message, true));
            } }, "Compare the rest");
            foot.append(" ", rest);
          }
        };
        keep();
        const end = performance.now() + AT_ONCE;
        await goOn(() => end);
      } catch (error) {
        if (number === looking) into.replaceChildren(make("p", { class: "finding" }, error.message));
        changed();
      }
    };
    return {
      look,
      /** What was shown of this very draft, or null. */
      of: (route, body) => (shown && shown.key === JSON.stringify([route, body]) ? shown : null),
      clear: () => { looking += 1; shown = null; into.replaceChildren(); },
    };
  };
  /** A button that publishes, ready once what would change was shown; a large change is confirmed by its number. */
  const publisher = (button) => {
    const field = make("input", { autocomplete: "off", inputmode: "numeric", size: "8", "data-confirm": true });
    const asked = make("span");
    const why = make("span", { class: "state warn" });
    const line = make("span", { class: "confirm", hidden: true }, why, " ", make("label", {}, asked, " ", field));
    const hint = make("span", { class: "quiet", "data-hint": true });
    button.before(line);
    button.after(hint);
    let now = { ready: false, shown: null, said: true };
    const plain = (text) => text.replaceAll(",", "").replaceAll(" ", "");
    const show = () => {
      const { ready, shown, said } = now;
      const large = ready && shown !== null && shown.large;
      if (line.hidden === large) field.value = "";
      line.hidden = !large;
      if (large) {
        why.textContent = `Large change. ${shown.why}`;
        asked.textContent = `Write ${count(shown.changes)} to confirm`;
      }
      const missing = !ready ? "" : shown === null ? "First look at what would change."
        : !said ? "Say why, in a sentence." : large && plain(field.value) !== String(shown.changes) ? `Write ${count(shown.changes)} to confirm it.` : "";
      hint.textContent = missing;
      hint.hidden = !missing || (large && said);
      button.disabled = !ready || missing !== "";
      if (button.disabled) button.title = missing || "There is nothing to publish yet, or something to correct first.";
      else button.removeAttribute("title");
    };
    field.addEventListener("input", show);
    return {
      /** `ready`: there is a draft without mistakes; `shown`: what was shown of it, or null; `said`: why. */
      set: (ready, shown, said = true) => { now = { ready, shown, said }; show(); },
      body: () => ({ preview: now.shown.number, confirm: field.value }),
    };
  };
  for (const box of document.querySelectorAll("[data-proposal]")) {
    const route = `/rules/versions/${box.dataset.proposal}/effects`;
    const button = box.querySelector("[data-agree]");
    const agreed = button ? publisher(button) : null;
    const show = () => { if (agreed) agreed.set(true, preview.of(route, {})); };
    const preview = previews(box.querySelector("[data-effect]"), show);
    show();
    const look = box.querySelector("[data-look]");
    look.addEventListener("click", () => working(look, "Looking …", () => preview.look(route, {})));
    if (button) button.addEventListener("click", () => working(button, "Publishing …", async () => {
      after(null, await call(`POST /rules/versions/${box.dataset.proposal}/${button.dataset.agree}`, agreed.body()));
    }).then(show));
  }

  // ---- values that records have brought

  for (const box of document.querySelectorAll("[data-unknown]")) {
    const path = box.dataset.unknown;
    const button = box.querySelector("[data-publish]");
    if (!button) continue;
    const looks = box.querySelector("[data-look]");
    const message = box.querySelector("[data-message]");
    const told = box.querySelector("[data-findings]");
    const published = publisher(button);
    const rows = [...box.querySelectorAll("tr[data-value]")];
    const cells = (row) => [...row.querySelectorAll("[data-cell]")];
    const full = (row) => cells(row).every((one) => one.dataset.required === undefined || one.value.trim() !== "");
    const known = (row) => row.dataset.known !== undefined;
    const letters = (row) => Number(row.dataset.waits);
    let own = false;
    const taken = () => rows.filter((row) => row.querySelector("[data-take]").checked);
    const change = () => ({ path, rows: taken().filter((row) => !known(row)).map((row) => ({ line: 0, cells: cells(row).map((one) => one.value) })) });
    const preview = previews(box.querySelector("[data-effect]"), () => show());
    const show = () => {
      const chosen = taken();
      const waiting = chosen.reduce((sum, row) => sum + letters(row), 0);
      const only = chosen.length > 0 && chosen.every(known);
      looks.disabled = !chosen.length || only;
      looks.hidden = only;
      const names = chosen.filter((row) => !known(row)).map((row) => row.dataset.value);
      if (!own) message.value = names.length ? `Added ${names.slice(0, 3).join(", ")}${names.length > 3 ? " and others" : ""}` : "";
      if (only) published.set(true, { large: false }); // nothing is published
      else published.set(chosen.length > 0, preview.of("/rules/effects", change()), message.value.trim() !== "");
      button.textContent = only ? `Replay the ${count(waiting)}` : `Publish and replay the ${count(waiting)}`;
      if (!chosen.length) button.textContent = "Publish and replay";
    };
    const check = later(async () => {
      const body = change();
      told.textContent = "";
      if (!body.rows.length) return;
      try {
        const found = await call("POST /rules/check", body);
        told.replaceChildren(...found.findings.map((one) => make("span", { class: "finding" }, `${one.text} `)));
      } catch (error) { told.replaceChildren(make("span", { class: "finding" }, error.message)); }
    }, 400);
    for (const row of rows) {
      const take = row.querySelector("[data-take]");
      take.checked = (full(row) && row.dataset.sure !== undefined) || known(row);
      take.addEventListener("change", () => { show(); check(); });
      for (const one of cells(row)) one.addEventListener("input", () => { take.checked = full(row); show(); check(); });
    }
    // Whoever comes for one value is led to its row: that one alone is chosen, and what is missing in it has the cursor.
    const wanted = rows.filter((row) => row.dataset.wanted !== undefined);
    if (wanted.length) {
      for (const row of rows) row.querySelector("[data-take]").checked = wanted.includes(row) && (full(row) || known(row));
      const missing = cells(wanted[0]).find((one) => one.value.trim() === "" && one.dataset.required !== undefined);
      const field = missing || cells(wanted[0])[0] || wanted[0].querySelector("[data-take]");
      field.focus();
      field.scrollIntoView({ block: "center" });
    }
    message.addEventListener("input", () => { own = true; show(); });
    show();
    check();
    looks.addEventListener("click", () => working(looks, "Looking …", () => preview.look("/rules/effects", change())).then(show));
    button.addEventListener("click", () => working(button, "Publishing …", async () => {
      const replay = taken().map((row) => row.dataset.value);
      const body = change();
      const done = body.rows.length
        ? await call("POST /rules/publish", { ...body, message: message.value, replay, ...published.body() })
        : await call("POST /rules/replay", { path, values: replay });
      after(null, done);
    }).then(show));
  }

  // ---- the editor of a file

  const box = document.getElementById("editor");
  if (!box) return;
  const publishes = box.dataset.publishes !== undefined;
  const PAGE = 100;

  const state = {
    file: null, // as the server has made it from the text
    base: null, // the text that it was made from; null: what is in force
    rows: new Map(), // line -> cells, or null: it goes
    added: [], // cells
    values: new Map(), // place as JSON -> value, or null: it goes
    entries: new Map(), // place of a section as JSON -> names of new words
    text: null, // the text, where it is edited as such
    mode: "text",
    checked: null,
    page: 0,
    filter: "",
  };
  const key = (place) => JSON.stringify(place);
  const added = () => state.added.filter((cells) => cells.some((text) => text.trim() !== "")); // an empty row is none yet
  const changes = () => state.rows.size + added().length + state.values.size + (state.text !== null && state.text !== state.file.text ? 1 : 0);
  const look = () => ({ ...draft(), parent: original.number }); // what is tried is what is published
  const isDraft = () => changes() > 0 || state.base !== null;
  const draft = () => {
    const path = state.file.path;
    if (state.mode === "text" && state.text !== null) return { path, text: state.text };
    return {
      path,
      text: state.base,
      rows: [
        ...[...state.rows].map(([line, cells]) => ({ line, cells })),
        ...added().map((cells) => ({ line: 0, cells })),
      ],
      values: [...state.values].map(([place, value]) => ({ place: JSON.parse(place), value })),
    };
  };

  const tabs = make("div", { class: "tabs", role: "tablist", "aria-label": "How the file is shown" });
  const panel = make("div", { role: "tabpanel", id: "panel", tabindex: "-1" });
  const list = make("ul", { class: "findings", "aria-label": "What is wrong" });
  const bar = make("div", { class: "publish" });
  const result = make("div", { "aria-live": "polite" });

  // ---- checking as one types

  let asked = 0;
  const check = async () => {
    const number = ++asked;
    try {
      const found = await call("POST /rules/check", draft());
      if (number !== asked) return;
      state.checked = found;
    } catch (error) {
      if (number !== asked) return;
      state.checked = { text: "", changed: true, findings: [{ line: 0, text: error.message, path: "", row: null, place: null }], diff: "" };
    }
    mark();
  };
  const soon = later(check, 400);
  const touched = () => { foot(); if (publishes) soon(); };

  const mark = () => {
    for (const one of drafted()) {
      const row = one.row === null ? panel.querySelector(`tr[data-added="${one.index}"]`) : null;
      if (row) row.dataset.at = one.at; // it may have been empty, and no row of the draft
    }
    const found = state.checked ? state.checked.findings : [];
    for (const one of panel.querySelectorAll(".wrong")) one.classList.remove("wrong");
    for (const one of panel.querySelectorAll(".finding")) one.remove();
    for (const one of panel.querySelectorAll("[aria-invalid]")) { one.removeAttribute("aria-invalid"); one.removeAttribute("aria-describedby"); }
    list.replaceChildren(...found.map((one) => {
      const where = one.path ? `${one.path}:${one.line}: ` : one.line ? `Line ${one.line}: ` : "";
      return make("li", {}, make("button", { type: "button", onclick: () => goTo(one) }, where + one.text));
    }));
    for (const one of found) place(one);
    foot();
  };
  const place = (one) => {
    if (one.path) return;
    let target = null;
    if (state.mode === "grid" && one.row !== null) {
      const row = panel.querySelector(`tr[data-at="${one.row}"]`);
      if (!row) return;
      row.classList.add("wrong");
      const id = `finding${++ids}`;
      row.after(make("tr", { class: "finding" }, make("td", { class: "line" }), make("td", { class: "finding", id, colspan: String(state.file.columns.length + 1) }, one.text)));
      target = row.querySelector("input, select");
      if (target) { target.setAttribute("aria-invalid", "true"); target.setAttribute("aria-describedby", id); }
    } else if (state.mode === "form" && one.place) {
      const field = panel.querySelector(`[data-place="${CSS.escape(key(one.place))}"]`);
      if (!field) return;
      open(field);
      field.classList.add("wrong");
      const id = `finding${++ids}`;
      field.append(make("p", { class: "finding", id }, one.text));
      target = field.querySelector("input, select, textarea");
      if (target) { target.setAttribute("aria-invalid", "true"); target.setAttribute("aria-describedby", id); }
    }
  };
  const open = (element) => {
    for (let up = element.parentElement; up && up !== panel; up = up.parentElement) if (up.tagName === "DETAILS") up.open = true;
  };
  const goTo = (one) => {
    if (state.mode === "grid" && one.row !== null) {
      state.filter = "";
      state.page = Math.floor(visible().findIndex((row) => row.at === one.row) / PAGE);
      show();
      const row = panel.querySelector(`tr[data-at="${one.row}"]`);
      if (row) row.querySelector("input, select, button").focus();
    } else if (state.mode === "form" && one.place) {
      const field = panel.querySelector(`[data-place="${CSS.escape(key(one.place))}"]`);
      if (field) { open(field); field.scrollIntoView({ block: "center" }); (field.querySelector("input, select, textarea") || field).focus(); }
    } else if (state.mode === "text" && one.line) {
      const area = panel.querySelector("textarea");
      const lines = area.value.split("\n");
      const start = lines.slice(0, one.line - 1).join("\n").length + (one.line > 1 ? 1 : 0);
      area.focus();
      area.setSelectionRange(start, start + (lines[one.line - 1] || "").length);
      area.scrollTop = Math.max(0, (one.line - 8) * (area.scrollHeight / Math.max(lines.length, 1)));
    }
  };

  // ---- the grid

  /** Rows in the order in which the draft has them; `at`: their place there, -1 for one that goes. */
  const drafted = () => {
    let at = 0;
    const made = state.file.rows.map((row) => {
      const changed = state.rows.has(row.line);
      const cells = changed ? state.rows.get(row.line) : row.cells;
      return { row, line: row.line, cells: cells || row.cells, gone: changed && cells === null, changed, at: changed && cells === null ? -1 : at++ };
    });
    state.added.forEach((cells, index) => made.push({ row: null, line: 0, index, cells, gone: false, changed: true, at: cells.some((text) => text.trim() !== "") ? at++ : -1 }));
    return made;
  };
  const visible = () => {
    const wanted = state.filter.trim().toLowerCase();
    const all = drafted();
    return wanted ? all.filter((one) => one.row === null || one.cells.some((text) => text.toLowerCase().includes(wanted))) : all;
  };
  const grid = () => {
    const columns = state.file.columns;
    const all = visible();
    const pages = Math.max(1, Math.ceil(all.length / PAGE));
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    const head = columns.map((column) => make("th", { scope: "col", title: column.write }, column.name.replaceAll("_", " "), column.required ? make("span", { "aria-hidden": "true" }, " *") : null));
    const rows = all.slice(state.page * PAGE, (state.page + 1) * PAGE).map(gridRow);
    const find = make("input", { type: "search", value: state.filter, placeholder: "Find in rows", "aria-label": "Find in rows", oninput: later(() => {
      state.filter = find.value; state.page = 0; show(); panel.querySelector('input[type="search"]').focus();
    }, 250) });
    const tools = make("div", { class: "tools" }, find, make("span", { class: "quiet" }, `${count(all.length)} of ${count(state.file.rows.length + state.added.length)} rows`));
    if (pages > 1) {
      const turn = (by) => { state.page += by; show(); };
      tools.append(
        make("button", { type: "button", disabled: state.page === 0, onclick: () => turn(-1) }, "Previous"),
        make("span", {}, `${state.page + 1} / ${pages}`),
        make("button", { type: "button", disabled: state.page >= pages - 1, onclick: () => turn(1) }, "Next"));
    }
    const table = make("table", { class: "grid" },
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, make("span", { class: "hidden" }, "Line")), ...head, make("th", { scope: "col" }, make("span", { class: "hidden" }, "Remove")))),
      make("tbody", {}, ...rows));
    const lists = columns.map((column, at) => (column.taken.length ? make("datalist", { id: `taken${at}` }, ...column.taken.map((value) => make("option", { value }))) : null)).filter(Boolean);
    const said = [...new Set(columns.map((column) => column.hint).filter(Boolean))].map((words) => make("p", { class: "quiet hint" }, words));
    const parts = [tools, make("div", { class: "wide" }, table), ...lists, ...said];
    if (!all.length) parts.push(make("div", { class: "empty" }, make("p", {}, state.filter ? "No row has this." : "No rows yet."), make("p", { class: "quiet" }, "Add one; the remarks of the file say what belongs here.")));
    if (publishes) parts.push(make("div", { class: "bar" }, make("button", { type: "button", onclick: () => {
      state.added.push(columns.map(() => ""));
      state.filter = "";
      state.page = Math.floor((drafted().length - 1) / PAGE);
      show();
      touched();
      const last = [...panel.querySelectorAll("tr[data-at]")].at(-1);
      last.querySelector("input, select").focus();
    } }, "Add a row")));
    return parts;
  };
  const gridRow = (one) => {
    const columns = state.file.columns;
    const row = make("tr", { "data-at": String(one.at), "data-added": one.row === null ? String(one.index) : null, class: one.gone ? "gone" : one.changed ? "changed" : null });
    row.append(make("td", { class: "line" }, one.line ? String(one.line) : "new"));
    const broken = one.row && one.row.broken && !(state.rows.get(one.line) || []).length;
    if (broken && !one.gone) {
      row.append(make("td", { colspan: String(columns.length) }, one.cells.join(","), make("span", { class: "finding" }, " – this line is no row; change it in the text")));
    } else {
      columns.forEach((column, at) => {
        const label = `${column.name.replaceAll("_", " ")}, ${one.line ? `line ${one.line}` : "new row"}`;
        const value = one.cells[at] ?? "";
        const common = { "aria-label": label, disabled: !publishes || one.gone };
        let field;
        if (column.choices.length) {
          const choices = column.choices.includes(value) ? column.choices : [value, ...column.choices];
          field = make("select", common, ...choices.map((choice) => make("option", { value: choice }, choice)));
          field.value = value;
        } else {
          field = make("input", { ...common, list: column.taken.length ? `taken${at}` : null, value, title: value.length > 30 ? value : null, autocomplete: "off", spellcheck: "false", placeholder: one.row === null && column.required ? column.write : null });
        }
        field.addEventListener("input", () => {
          if (one.row === null) state.added[one.index][at] = field.value;
          else {
            const cells = [...(state.rows.get(one.line) || one.row.cells)];
            cells[at] = field.value;
            const same = cells.every((text, place) => text === one.row.cells[place]);
            if (same) state.rows.delete(one.line); else state.rows.set(one.line, cells);
            row.className = same ? "" : "changed";
          }
          touched();
        });
        row.append(make("td", {}, field));
      });
    }
    const act = publishes ? make("button", { type: "button", class: "icon", title: one.gone ? "Put back" : "Remove", "aria-label": `${one.gone ? "Put back" : "Remove"} ${one.line ? `line ${one.line}` : "the new row"}`, onclick: () => {
      if (one.row === null) state.added.splice(one.index, 1);
      else if (one.gone) state.rows.delete(one.line);
      else state.rows.set(one.line, null);
      show();
      touched();
    } }, one.gone ? "↶" : "✕") : null;
    row.append(make("td", { class: "act" }, act));
    return row;
  };

  // ---- the form

  const current = (field) => (state.values.has(key(field.place)) ? state.values.get(key(field.place)) : field.form === "list" ? field.entries : field.value);
  const set = (field, value, element) => {
    const was = field.form === "list" ? [...field.entries] : field.value;
    const same = field.line ? JSON.stringify(value) === JSON.stringify(was) : value === null;
    if (same) state.values.delete(key(field.place)); else state.values.set(key(field.place), value);
    element.classList.toggle("changed", !same);
    touched();
  };
  const title = (name) => name.replaceAll("_", " ");
  const below = (field, place) => ({ ...field, place: [...place, ...field.place], fields: field.fields.map((one) => below(one, place)), new: field.new });
  const single = (field, named) => {
    const id = `field${++ids}`;
    const line = make("div", { class: state.values.has(key(field.place)) ? "field changed" : "field", "data-place": key(field.place) });
    const label = make("label", { for: id }, title(field.name), field.required ? make("span", { "aria-hidden": "true" }, " *") : null);
    const value = current(field);
    const words = field.default ? `${field.write}; without: ${field.default}` : field.write;
    let input;
    if (field.form === "list") {
      const entries = value || [];
      input = make("textarea", { id, rows: String(Math.min(Math.max(entries.length, 1), 12)), spellcheck: "false", disabled: !publishes });
      input.value = entries.join("\n");
      input.addEventListener("input", () => {
        const given = input.value.split("\n").map((one) => one.trim()).filter(Boolean);
        set(field, !given.length && !field.line ? null : given, line);
      });
    } else if (field.choices.length) {
      const choices = ["", ...field.choices, ...(value && !field.choices.includes(value) ? [value] : [])];
      input = make("select", { id, disabled: !publishes }, ...choices.map((choice) => make("option", { value: choice }, choice || (field.default ? `(${field.default})` : ""))));
      input.value = value ?? "";
      input.addEventListener("input", () => set(field, input.value === "" && (field.can_go || !field.line) ? null : input.value, line));
    } else {
      input = make("input", { id, value: value ?? "", autocomplete: "off", spellcheck: "false", disabled: !publishes, placeholder: field.default || null });
      input.addEventListener("input", () => set(field, input.value === "" && (field.can_go || !field.line) ? null : input.value, line));
    }
    const hint = make("span", { class: "hint" }, [field.help, field.form === "list" ? `One per line: ${words}` : words].filter(Boolean).join(" – "));
    line.append(label, make("div", {}, input), hint);
    if (named && field.can_go && publishes) line.append(removal(field));
    return line;
  };
  const removal = (field) => make("button", { type: "button", class: "remove", onclick: () => { state.values.set(key(field.place), null); show(); touched(); } }, `Remove ${field.name}`);
  const fieldOf = (field, named = false) => {
    if (field.form === "section") return section(field, named);
    if (field.form === "text") {
      return make("div", { class: "field", "data-place": key(field.place) }, make("span", {}, title(field.name)),
        make("span", { class: "hint" }, field.value ? field.value.slice(0, 200) : field.why_text || "More than a form can show."),
        make("button", { type: "button", class: "remove", onclick: () => turn("text") }, "Change it in the text"));
    }
    return single(field, named);
  };
  const section = (field, named) => {
    const place = key(field.place);
    const said = field.fields.filter((one) => one.line || one.required || state.values.has(key(one.place)) || (one.form === "section" && hasChanges(one)));
    const unsaid = field.fields.filter((one) => !said.includes(one));
    const parts = [];
    if (field.help && named) parts.push(make("p", { class: "hint" }, field.help));
    const many = field.takes && field.fields.length > 3;
    for (const one of said) {
      if (state.values.get(key(one.place)) === null && one.line) {
        parts.push(make("p", { class: "quiet" }, `${one.name} goes. `, make("button", { type: "button", onclick: () => { state.values.delete(key(one.place)); show(); touched(); } }, "Put back")));
      } else if (one.form === "section" && (field.takes || one.fields.length > 8)) {
        parts.push(make("details", { class: "entry", open: !many || hasChanges(one) }, make("summary", {}, title(one.name)), ...inside(one, Boolean(field.takes))));
      } else parts.push(fieldOf(one, Boolean(field.takes)));
    }
    for (const name of state.entries.get(place) || []) {
      const fresh = below({ ...field.new[0], name }, [...field.place, name]);
      if (fresh.form === "section") parts.push(make("details", { class: "entry", open: true }, make("summary", {}, `${name} (new)`), ...fresh.fields.map((one) => fieldOf(one))));
      else parts.push(fieldOf(fresh));
    }
    if (unsaid.length && publishes) parts.push(make("details", { class: "unsaid", open: !said.length && !field.takes }, make("summary", {}, `${unsaid.length} more that it may say: ${unsaid.slice(0, 6).map((one) => title(one.name)).join(", ")}${unsaid.length > 6 ? " …" : ""}`), ...unsaid.map((one) => fieldOf(one))));
    if (field.takes && field.new.length && publishes) parts.push(adding(field, place));
    if (!field.place.length) return make("div", { class: "form" }, ...parts);
    return make("fieldset", { "data-place": place }, make("legend", {}, title(field.name)), ...parts);
  };
  const inside = (field, named) => {
    const made = section({ ...field }, named);
    const parts = [...made.childNodes].filter((one) => one.nodeName !== "LEGEND");
    if (named && field.can_go && publishes) parts.push(removal(field));
    return parts;
  };
  const hasChanges = (field) => [...state.values.keys()].some((place) => place.startsWith(key(field.place).slice(0, -1)));
  const adding = (field, place) => {
    const id = `field${++ids}`;
    const input = make("input", { id, autocomplete: "off", spellcheck: "false", placeholder: field.takes });
    const add = () => {
      const name = input.value.trim();
      if (!name) return;
      if (field.fields.some((one) => one.name === name) || (state.entries.get(place) || []).includes(name)) { say(`${name} is there already.`, true); return; }
      state.entries.set(place, [...(state.entries.get(place) || []), name]);
      show();
      const made = panel.querySelector(`[data-place^="${CSS.escape(key([...field.place, name]).slice(0, -1))}"] input, [data-place^="${CSS.escape(key([...field.place, name]).slice(0, -1))}"] select`);
      if (made) made.focus();
    };
    input.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); add(); } });
    return make("div", { class: "tools" }, make("label", { for: id }, `Add to ${field.place.length ? field.place.map((one) => title(String(one))).join(" ") : "the file"}`), input, make("button", { type: "button", onclick: add }, "Add"));
  };

  // ---- the text

  const text = () => {
    const area = make("textarea", { class: "text", "aria-label": `Text of ${state.file.path}`, spellcheck: "false", wrap: "off", readonly: !publishes });
    area.value = state.text ?? state.file.text;
    area.addEventListener("input", () => { state.text = area.value; touched(); });
    area.addEventListener("keydown", (event) => {
      if (event.key !== "Tab" || event.shiftKey || !publishes || !state.file.path.endsWith(".yaml")) return;
      event.preventDefault(); // indentation; Escape, then Tab leaves the field
      area.setRangeText("  ", area.selectionStart, area.selectionEnd, "end");
      area.dispatchEvent(new Event("input"));
    });
    const parts = [area];
    if (state.file.why_text) parts.unshift(make("p", { class: "quiet" }, `${state.file.why_text} So only its text can be shown.`));
    if (publishes && state.file.path.endsWith(".yaml")) parts.push(make("p", { class: "hint quiet" }, "Tab indents. Press Escape, then Tab, to leave the field."));
    return parts;
  };

  // ---- together

  const KINDS = { grid: "Grid", form: "Form", text: "Text" };
  const turn = async (mode) => {
    if (mode === state.mode) return;
    try {
      if (publishes && (changes() || state.mode === "text")) {
        const body = draft();
        const file = await call("POST /rules/open", body);
        const inForce = file.text === original.text;
        state.file = file;
        state.base = inForce ? null : file.text;
        state.rows.clear(); state.values.clear(); state.entries.clear();
        state.added = [];
        state.text = null;
        if (mode !== "text" && file.kind === "text") { say(file.why_text || "Correct the text first.", true); return; }
      }
      state.mode = mode;
      show();
      if (isDraft()) check();
    } catch (error) { say(error.message, true); }
  };
  const show = () => {
    const kinds = [...new Set([state.file.kind, "text"])];
    tabs.replaceChildren(...kinds.map((kind) => make("button", { type: "button", role: "tab", "aria-selected": String(kind === state.mode), "aria-controls": "panel", onclick: () => turn(kind) }, KINDS[kind])));
    panel.replaceChildren(...(state.mode === "grid" ? grid() : state.mode === "form" ? [section(state.file.form, false)] : text()));
    mark();
  };
  let message = null;
  let published = null;
  const preview = previews(result, () => foot());
  const foot = () => {
    if (!publishes || published === null) return;
    const found = state.checked ? state.checked.findings.length : 0;
    const has = isDraft();
    bar.querySelector("[data-sum]").textContent = !has ? "Nothing is changed." : found ? `${found} to correct` : state.base !== null && !changes() ? "Another text than in force" : `${count(changes())} changed`;
    bar.querySelector("[data-sum]").className = found ? "state bad" : has ? "state warn" : "quiet";
    for (const button of bar.querySelectorAll("button:not([data-publish])")) button.disabled = !has || (found > 0 && button.dataset.needs === "clean");
    published.set(has && !found, has ? preview.of("/rules/effects", look()) : null, message.value.trim() !== "");
    const difference = state.checked && state.checked.changed && has ? state.checked.diff : "";
    const shown = bar.querySelector("details");
    shown.hidden = !difference;
    shown.querySelector("pre").textContent = difference;
  };
  const build = () => {
    const button = make("button", { type: "button", class: "main", "data-publish": true, onclick: (event) => working(event.target, "Publishing …", async () => {
      const done = await call("POST /rules/publish", { ...look(), message: message.value, ...published.body() });
      leaving = false;
      after(`${root}/rules/file?${new URLSearchParams({ path: original.path })}`, done);
    }).then(foot) }, original.consent ? "Propose" : "Publish");
    message = make("input", { id: "why", required: true, autocomplete: "off", placeholder: "Why, in a sentence", oninput: () => foot() });
    bar.append(
      make("div", { class: "bar" },
        make("span", { "data-sum": true, role: "status" }),
        make("button", { type: "button", "data-needs": "clean", onclick: (event) => working(event.target, "Looking …", () => preview.look("/rules/effects", look())).then(foot) }, "What would change"),
        make("label", { for: "why" }, "Why"), message, button,
        make("button", { type: "button", onclick: () => { leaving = false; location.assign(`${root}/rules/file?${new URLSearchParams({ path: original.path })}`); } }, "Discard")),
      make("details", { hidden: true, "data-difference": true }, make("summary", {}, "The difference in the file"), make("pre", { class: "diff", tabindex: "0" })));
    published = publisher(button);
  };
  let original = null;
  let leaving = true;
  addEventListener("beforeunload", (event) => { if (leaving && publishes && original && changes()) event.preventDefault(); });
  (async () => {
    try {
      const path = box.dataset.path;
      original = await get(`/rules/file?${new URLSearchParams({ path })}`);
      state.file = original;
      if (box.dataset.version !== undefined) {
        state.file = await get(`/rules/file?${new URLSearchParams({ path, version: box.dataset.version })}`);
        if (state.file.text !== original.text) state.base = state.file.text;
      }
      state.mode = state.file.kind;
      if (publishes) build();
      box.replaceChildren(tabs, list, panel, ...(publishes ? [result, bar] : []));
      show();
      if (publishes) check();
    } catch (error) {
      box.replaceChildren(make("p", { class: "refusal" }, error.message));
    }
  })();
});
