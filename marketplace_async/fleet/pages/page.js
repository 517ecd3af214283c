"use strict";
// Everything that comes from the file is shown by textContent, so that no name becomes markup.
const KIND = document.documentElement.dataset.kind;
const MAX_COLUMNS = 200;
const OVERSCAN = 6;
const SPECIAL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
const number = (value) => value.toLocaleString("en-US");
const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

/** Show characters that are invisible or change the direction of text as escapes. */
function visible(text) {
  return String(text).replace(SPECIAL, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const child of children) made.append(child instanceof Node ? child : document.createTextNode(visible(child)));
  return made;
}

const nameOf = (one) => (one.name?.trim() ? one.name : "(no name)");

/** JSON with sorted keys: equal values give equal text. */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  return `{${Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join(",")}}`;
}

const MARKS = {
  installed: ["✓", "installed", "good", "Configured like most accounts"],
  differs: ["≠", "differs", "warn", "Configured unlike most accounts"],
  install: ["+", "install", "info", "Will be installed"],
  update: ["~", "update", "warn", "Configuration drifted; will be updated"],
  rename: ["→", "rename", "warn", "Will be renamed"],
  enable: ["▲", "enable", "info", "Extension will be enabled"],
  disable: ["▼", "disable", "warn", "Extension will be disabled"],
  remove: ["−", "remove", "bad", "Will be removed"],
  several: ["*", "steps", "warn", "Several steps"],
  problem: ["!", "problem", "bad", "Cannot be reached"],
  same: ["✓", "as desired", "plain", "Nothing to change"],
  failed: ["✕", "failed", "bad", "The account could not be read"],
};

function mark(state, count, states = []) {
  let [symbol, label, style] = MARKS[state];
  if (state === "several" && states.length) {
    // Several steps show what each of them is, so that no removal hides among them.
    symbol = states.map((each) => MARKS[each][0]).join(" ");
    if (states.includes("remove")) style = "bad";
  }
  return element("span", `mark ${style}`, element("b", "", symbol), element("span", "", count > 1 ? `${count} ${label}` : label));
}

/** Read the lines. The last line of a file that a job is writing may be incomplete. */
function read(text) {
  const accounts = new Map();
  const account = (sid) => {
    if (!accounts.has(sid)) accounts.set(sid, { sid, name: null, records: new Map(), failure: null });
    return accounts.get(sid);
  };
  for (const line of text.split("\n")) {
    if (!line) continue;
    let value;
    try { value = JSON.parse(line); } catch { continue; }
    if (value.failure) {
      const found = account(value.failure.account_sid);
      found.failure = value.failure;
      found.name ??= value.failure.friendly_name;
    } else if (value.finished) account(value.finished);
    else {
      const found = account(value.account_sid);
      found.name = value.account_friendly_name ?? value.friendly_name ?? found.name;
      found.records.set(value.sid ?? "", value);
    }
  }
  return [...accounts.values()];
}

/** Give each account its cells, by column, and its states. Return the columns. */
function arrange(accounts) {
  const columns = new Map();
  const cellOf = (one, key, label) => {
    if (!columns.has(key)) columns.set(key, { key, label, count: 0, variants: new Map() });
    const column = columns.get(key);
    if (!one.cells.has(key)) { one.cells.set(key, { items: [], states: new Set() }); column.count += 1; }
    return [one.cells.get(key), column];
  };
  for (const one of accounts) {
    one.cells = new Map();
    for (const record of one.records.values()) {
      if (KIND === "inventory") {
        const key = record.available_add_on_sid ?? record.unique_name ?? record.sid;
        const [cell, column] = cellOf(one, key, record.friendly_name || record.unique_name || key);
        const variant = canonical([record.configuration, (record.extensions ?? []).filter((each) => each.enabled).map((each) => each.unique_name ?? each.sid).sort()]);
        cell.items.push({ record, variant });
        column.variants.set(variant, (column.variants.get(variant) ?? 0) + 1);
      } else {
        for (const name of record.compared ?? []) cellOf(one, name, name)[0].states.add("same");
        for (const name of record.unclear ?? []) cellOf(one, name, name)[0].states.add("problem");
        for (const step of record.steps) {
          const [cell] = cellOf(one, step.unique_name, step.unique_name);
          cell.items.push({ step });
          cell.states.delete("same");
          cell.states.add(step.action);
        }
      }
    }
  }
  for (const column of columns.values()) {
    const all = [...column.variants.values()].reduce((sum, count) => sum + count, 0);
    const [usual, count] = [...column.variants].sort((a, b) => b[1] - a[1])[0] ?? [null, 0];
    // Where no configuration is that of most accounts, none is unusual.
    column.usual = count * 2 > all ? usual : null;
  }
  for (const one of accounts) {
    one.states = new Set();
    for (const [key, cell] of one.cells) {
      const { usual } = columns.get(key);
      for (const item of cell.items) {
        if (item.record) { item.differs = usual !== null && item.variant !== usual; cell.states.add(item.differs ? "differs" : "installed"); }
      }
      if (cell.states.has("differs")) cell.states.delete("installed");
      cell.state = cell.states.has("problem") ? "problem" : cell.states.size > 1 ? "several" : [...cell.states][0];
      for (const state of cell.states) one.states.add(state);
    }
    if (one.failure) one.states.add("failed");
    const steps = [...one.cells.values()].some((cell) => cell.items.length);
    if (KIND === "plan") one.states.add(steps ? "changes" : one.failure ? "failed" : "unchanged");
    else if (!one.cells.size && !one.failure) one.states.add("empty");
    one.text = [one.name, one.sid, one.failure?.error, one.failure?.message, ...[...one.records.values()].flatMap((each) => [each.sid, each.unique_name])].filter(Boolean).join("\n").toLowerCase();
  }
  return [...columns.values()].sort((a, b) => b.count - a.count || (a.label < b.label ? -1 : 1));
}

document.addEventListener("DOMContentLoaded", () => {
  const $ = (id) => document.getElementById(id);
  const grid = $("grid"), rows = $("rows"), search = $("search"), select = $("add-on"), detail = $("detail");
  const data = $("data");
  const accounts = read(data.textContent);
  data.remove();
  const allColumns = arrange(accounts);
  accounts.sort((a, b) => (a.name === null) - (b.name === null) || (a.name ?? "").localeCompare(b.name ?? "", "en", { numeric: true }) || (a.sid < b.sid ? -1 : 1));
  const columns = allColumns.slice(0, MAX_COLUMNS);
  grid.style.setProperty("--columns", Math.max(columns.length, 1));
  const filters = KIND === "plan"
    ? [["all", "All"], ["changes", "Changes"], ["failed", "Failed"], ["unchanged", "Unchanged"]]
    : [["all", "All"], ["differs", "Differs"], ["failed", "Failed"], ["empty", "Empty"]];
  const has = (one, state) => state === "all" || one.states.has(state);
  let filter = "all", shown = accounts, row = 0, column = 0;

  function totals() {
    const items = accounts.reduce((sum, one) => sum + [...one.cells.values()].reduce((all, cell) => all + cell.items.length, 0), 0);
    const failed = accounts.filter((one) => one.failure).length;
    const total = (value, text, style = "") => $("totals").append(element("li", style, element("b", "", number(value)), ` ${text}`));
    total(accounts.length, accounts.length === 1 ? "account" : "accounts");
    total(items, KIND === "plan" ? (items === 1 ? "step" : "steps") : "installed");
    total(columns.length, allColumns.length > MAX_COLUMNS ? `of ${number(allColumns.length)} Add-ons shown` : columns.length === 1 ? "Add-on" : "Add-ons");
    total(failed, "failed", failed ? "bad" : "");
  }

  function controls() {
    for (const [state, label] of filters) {
      const button = element("button", "", label, element("small", "", number(accounts.filter((one) => has(one, state)).length)));
      button.type = "button";
      button.dataset.state = state;
      button.addEventListener("click", () => { filter = state; apply(); });
      $("states").append(button);
    }
    const option = (value, label) => { const made = element("option", "", label); made.value = value; select.append(made); };
    option("", "Any Add-on");
    columns.forEach((each, index) => option(String(index), visible(each.label).slice(0, 60)));
    $("head").append(cell("columnheader", 0, element("span", "label", "Account")));
    columns.forEach((each, index) => {
      const label = element("span", "label", each.label);
      label.title = visible(each.label);
      $("head").append(cell("columnheader", index + 1, label, element("small", "", `${plural(each.count, "account")}`)));
    });
    grid.setAttribute("aria-colcount", columns.length + 1);
    const used = new Set(accounts.flatMap((one) => [...one.states, ...[...one.cells.values()].map((each) => each.state)]));
    for (const state of Object.keys(MARKS)) if (used.has(state) && state !== "several") $("legend").append(element("span", "key", mark(state), MARKS[state][3]));
  }

  function cell(role, index, ...children) {
    const made = element("div", "", ...children);
    made.setAttribute("role", role);
    made.setAttribute("aria-colindex", index + 1);
    return made;
  }

  function apply() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const key = select.value === "" ? null : columns[Number(select.value)].key;
    shown = accounts.filter((one) => has(one, filter) && (key === null || one.cells.has(key)) && words.every((word) => one.text.includes(word)));
    for (const button of $("states").children) button.setAttribute("aria-pressed", String(button.dataset.state === filter));
    $("shown").textContent = shown.length === accounts.length ? plural(shown.length, "account") : `${number(shown.length)} of ${plural(accounts.length, "account")}`;
    $("none").hidden = shown.length > 0;
    grid.setAttribute("aria-rowcount", shown.length + 1);
    row = column = 0;
    grid.scrollTop = 0;
    draw();
  }

  const height = () => Number.parseFloat(getComputedStyle(grid).getPropertyValue("--row"));

  /** Draw the rows in view, and a few around them. */
  function draw() {
    const size = height();
    rows.style.height = `${shown.length * size}px`;
    const first = Math.max(0, Math.floor(grid.scrollTop / size) - OVERSCAN);
    const last = Math.min(shown.length, Math.ceil((grid.scrollTop + grid.clientHeight) / size) + OVERSCAN);
    const drawn = document.createDocumentFragment();
    for (let index = first; index < last; index += 1) drawn.append(rowOf(index, size));
    rows.replaceChildren(drawn);
    const current = rows.querySelector(".current");
    if (current) grid.setAttribute("aria-activedescendant", current.id);
    else grid.removeAttribute("aria-activedescendant");
  }

  function rowOf(index, size) {
    const one = shown[index];
    const made = element("div", index === row ? "row active" : "row");
    made.setAttribute("role", "row");
    made.setAttribute("aria-rowindex", index + 2);
    made.dataset.index = index;
    made.style.transform = `translateY(${index * size}px)`;
    const name = element("span", "name", nameOf(one).slice(0, 200));
    name.title = visible(one.name ?? "");
    made.append(cell("rowheader", 0, name, element("span", "sid", element("span", "", one.sid.slice(0, -6)), one.sid.slice(-6))));
    if (one.failure && !one.cells.size) {
      const message = element("span", "mark bad", `${one.failure.error}: ${one.failure.message}`.slice(0, 400));
      const wide = cell("gridcell", 1, message);
      wide.className = "wide";
      made.append(wide);
    } else if (!one.cells.size) {
      const wide = cell("gridcell", 1, element("span", "mark plain", KIND === "plan" ? "nothing to change" : "no Add-ons"));
      wide.className = "wide";
      made.append(wide);
    } else columns.forEach((each, position) => {
      const found = one.cells.get(each.key);
      const place = cell("gridcell", position + 1);
      if (found) {
        place.append(mark(found.state, found.items.length, [...found.states]));
        const meanings = found.state === "several" ? [...found.states] : [found.state];
        place.setAttribute("aria-label", `${visible(each.label)}: ${meanings.map((state) => MARKS[state][3]).join(", ")}`);
      }
      made.append(place);
    });
    if (index === row) {
      const current = made.children[Math.min(column, made.children.length - 1)];
      current.classList.add("current");
      current.id = "current";
    }
    return made;
  }

  function move(to) {
    row = Math.max(0, Math.min(shown.length - 1, to));
    const size = height(), top = row * size, space = grid.clientHeight - $("head").offsetHeight;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + size > grid.scrollTop + space) grid.scrollTop = top + size - space;
    draw();
    const current = $("current");
    if (current && column > 0) current.scrollIntoView({ block: "nearest", inline: "nearest" });
    else grid.scrollLeft = 0;
  }

  function closeButton() {
    const close = element("button", "", "Close");
    close.type = "button";
    close.addEventListener("click", () => detail.close());
    return close;
  }

  function show(index) {
    const one = shown[index];
    if (!one) return;
    row = index;
    draw();
    const name = element("h2", "", nameOf(one));
    name.id = "detail-name";
    detail.replaceChildren(element("div", "top", element("div", "", name, element("span", "sid", one.sid)), closeButton()));
    if (one.failure) detail.append(element("section", "", element("h3", "", mark("failed"), one.failure.error), element("p", "", one.failure.message)));
    for (const each of allColumns) {
      const found = one.cells.get(each.key);
      if (!found) continue;
      if (!found.items.length) detail.append(element("section", "", element("h3", "", each.label, mark(found.state))));
      for (const item of found.items) detail.append(item.record ? installed(item) : step(item.step));
    }
    if (!one.cells.size && !one.failure) detail.append(element("section", "", element("p", "soft", KIND === "plan" ? "Nothing to change." : "No Add-on is installed.")));
    detail.showModal();
    detail.scrollTop = 0;
  }

  function installed({ record, differs }) {
    const made = element("section", "", element("h3", "", record.friendly_name || record.unique_name || record.sid, mark(differs ? "differs" : "installed")));
    made.append(element("p", "soft", [record.unique_name, record.date_updated && `updated ${record.date_updated.slice(0, 16).replace("T", " ")} UTC`].filter(Boolean).join(" · ")), element("span", "sid", record.sid));
    if (record.configuration && Object.keys(record.configuration).length) made.append(element("pre", "", JSON.stringify(record.configuration, null, 2)));
    if (record.extensions?.length) made.append(element("div", "tags", ...record.extensions.map((each) => element("span", `mark ${each.enabled ? "good" : ""}`, `${each.unique_name ?? each.sid} ${each.enabled ? "on" : "off"}`))));
    return made;
  }

  function subject(one) {
    if (one.extension) return `${one.extension} of ${one.unique_name}`;
    if (one.action === "rename") return `${one.previous_name} → ${one.unique_name}`;
    return one.previous_name || one.unique_name;
  }

  function step(one) {
    const made = element("section", "", element("h3", "", mark(one.action), subject(one)));
    if (one.sid) made.append(element("span", "sid", one.sid));
    const lines = one.changes.map(({ path, before, after }) => before === null || before === undefined
      ? element("span", "good", `+ ${path} = ${after}`)
      : after === null || after === undefined ? element("span", "removed", `- ${path} = ${before}`) : element("span", "warn", `~ ${path} = ${before} → ${after}`));
    if (lines.length) made.append(element("pre", "", ...lines));
    if (one.offer) made.append(...offerOf(one.offer));
    return made;
  }

  function offerOf({ pricing_type: type, pricing, terms }) {
    const price = [type, pricing].filter(Boolean).join("; ");
    return [["Price", price], ["Terms", terms]].map(([name, text]) => element("p", "soft", `${name}: ${text || "not stated by the service"}`));
  }

  /** Offer the prices and terms that installations accept, by Add-on. */
  function offers() {
    const found = new Map();
    for (const one of accounts) for (const record of one.records.values()) for (const each of record.steps ?? []) {
      if (!each.offer) continue;
      const key = `${each.available_add_on_sid} ${each.offer.digest}`;
      if (!found.has(key)) found.set(key, { sid: each.available_add_on_sid, offer: each.offer, names: new Set(), accounts: new Set() });
      found.get(key).names.add(each.unique_name);
      found.get(key).accounts.add(one.sid);
    }
    if (!found.size) return;
    const button = element("button", "", "Prices and terms");
    button.type = "button";
    button.id = "offers";
    button.addEventListener("click", () => {
      const title = element("h2", "", "Prices and terms that the installations accept");
      title.id = "detail-name";
      detail.replaceChildren(element("div", "top", element("div", "", title), closeButton()));
      for (const { sid, offer, names, accounts: on } of found.values()) {
        const heading = element("h3", "", [...names].sort().join(", "), element("span", "mark info", plural(on.size, "account")));
        detail.append(element("section", "", heading, element("span", "sid", sid), ...offerOf(offer)));
      }
      detail.showModal();
      detail.scrollTop = 0;
    });
    $("shown").before(button);
  }

  let waiting = false;
  const soon = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; draw(); }); } };
  grid.addEventListener("scroll", soon);
  addEventListener("resize", soon);
  search.addEventListener("input", apply);
  select.addEventListener("change", apply);
  $("reset").addEventListener("click", () => { search.value = ""; select.value = ""; filter = "all"; apply(); search.focus(); });
  rows.addEventListener("click", (event) => { const found = event.target.closest(".row"); if (found) show(Number(found.dataset.index)); });
  detail.addEventListener("click", (event) => { if (event.target === detail) detail.close(); });
  detail.addEventListener("close", () => { draw(); grid.focus(); });
  grid.addEventListener("keydown", (event) => {
    if (event.target !== grid || event.altKey || event.metaKey) return;
    const page = Math.max(1, Math.floor((grid.clientHeight - $("head").offsetHeight) / height()) - 1);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page };
    if (event.key in moves) move(row + moves[event.key]);
    else if (event.key === "Home") move(0);
    else if (event.key === "End") move(shown.length - 1);
    else if (event.key === "ArrowRight") { column = Math.min(columns.length, column + 1); move(row); }
    else if (event.key === "ArrowLeft") { column = Math.max(0, column - 1); move(row); }
    else if (event.key === "Enter" || event.key === " ") show(row);
    else return;
    event.preventDefault();
  });
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !detail.open && event.target !== search) { event.preventDefault(); search.focus(); search.select(); }
    if (event.key === "Escape" && event.target === search) { search.value = ""; apply(); }
    if (event.key === "ArrowDown" && event.target === search) { event.preventDefault(); grid.focus(); }
  });
  totals();
  offers();
  controls();
  apply();
});
