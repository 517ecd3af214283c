const api = (path, options = {}) => request("./" + path, options);
const by = (id) => document.getElementById(id);
const MAX_ROWS = 500;

let health = { url: location.origin, accepts_any_credentials: true };
let accounts = [];
let paused = false;
let waiting = [];
const entries = new Map(); // summaries by number, oldest first

// -- connect

function showConnect() {
  const select = by("account");
  const first = "AC" + "1".padStart(32, "0");
  const sids = [...new Set([...accounts.map((account) => account.sid), first])];
  const chosen = sids.includes(select.value) ? select.value : sids[0];
  select.replaceChildren(...sids.map((sid) => {
    const known = accounts.find((account) => account.sid === sid);
    const name = known && known.friendly_name !== sid ? " · " + known.friendly_name.slice(0, 30) : "";
    return element("option", { value: sid }, short(sid) + name);
  }));
  select.value = chosen;
  by("snippets").replaceChildren(...Object.entries(snippets(chosen)).map(([name, text]) =>
    element("div", { class: "snippet" },
      element("div", {}, element("span", {}, name), copyButton(text)),
      element("pre", {}, text))));
}

// -- requests

function faultText(fault) {
  const parts = [];
  if (fault.status !== null) parts.push(`status ${fault.status}`);
  if (fault.drop) parts.push("connection dropped");
  if (fault.delay) parts.push(`delay ${fault.delay} s`);
  if (fault.body) parts.push(`body ${fault.body}`);
  if (fault.next_link) parts.push(`${fault.next_link} next link`);
  if (fault.drip) parts.push(`drip ${fault.drip} s`);
  if (fault.retry_after !== null) parts.push(`Retry-After ${fault.retry_after}`);
  if (fault.when === "after") parts.push("after it took effect");
  return parts.join(", ");
}

function rowOf(entry) {
  const status = entry.status === null ? "drop" : String(entry.status);
  const milliseconds = entry.duration * 1000;
  const time = new Date(entry.time);
  const row = element("button", { type: "button", class: "row", "aria-expanded": "false" },
    element("span", { class: "status", "data-class": entry.status === null ? "0" : status[0] }, status),
    element("span", { class: "method" }, entry.method),
    element("span", { class: "path" }, entry.path + (entry.query ? "?" + entry.query : "")),
    element("span", { class: "tags" }, entry.fault ? element("span", { class: "tag fault", title: faultText(entry.fault) }, "fault") : null),
    element("span", { class: "duration" }, milliseconds < 0.1 ? "<0.1 ms" : milliseconds < 100 ? milliseconds.toFixed(1) + " ms" : (milliseconds / 1000).toFixed(2) + " s"),
    element("span", { class: "who", title: entry.account_sid }, entry.account_sid ? short(entry.account_sid) : "no account"),
    element("time", { class: "time", datetime: entry.time, title: entry.time }, time.toLocaleTimeString([], { hour12: false })));
  const item = element("li", { "data-number": String(entry.number) }, row);
  row.addEventListener("click", attempt(() => toggle(item, row, entry.number)));
  return item;
}

async function toggle(item, row, number) {
  const open = item.querySelector(".detail");
  row.setAttribute("aria-expanded", String(!open));
  if (open) return open.remove();
  const entry = await api("log/" + number);
  if (row.getAttribute("aria-expanded") === "true" && !item.querySelector(".detail")) item.append(detailOf(entry));
}

function detailOf(entry) {
  const part = (title, text) => (text ? [element("h3", {}, title), element("pre", {}, text)] : []);
  const headers = entry.headers.map(([name, value]) => `${name}: ${value}`).join("\n");
  return element("div", { class: "detail" },
    element("div", { class: "actions" },
      copyButton(() => curlOf(entry), "Copy as curl"),
      entry.response_body ? copyButton(entry.response_body, "Copy response") : null,
      copyButton(entry.request_id, "Copy request ID")),
    entry.fault ? element("p", {}, element("span", { class: "tag fault" }, "fault: " + faultText(entry.fault))) : null,
    entry.truncated ? element("p", { class: "soft" }, "A body is incomplete: it was too long, or the log was full.") : null,
    ...part("Request body", entry.body && prettyBody(entry.body, header(entry, "content-type"))),
    ...part("Response", entry.response_body ? pretty(entry.response_body) : ""),
    ...part("Request headers", headers));
}

function matches(entry, words) {
  const text = `${entry.method} ${entry.path}?${entry.query} ${entry.status} ${entry.account_sid} ${entry.fault ? "fault" : ""}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

function showRequests() {
  const list = by("requests");
  const words = by("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = new Map([...list.children].map((item) => [Number(item.dataset.number), item]));
  const wanted = [...entries.values()].filter((entry) => matches(entry, words)).reverse();
  const keep = new Set(wanted.map((entry) => entry.number));
  for (const [number, item] of rows) if (!keep.has(number)) item.remove();
  let next = list.firstChild;
  for (const entry of wanted) {
    const item = rows.get(entry.number) || rowOf(entry);
    if (item === next) next = item.nextSibling;
    else list.insertBefore(item, next);
  }
  by("no-requests").hidden = wanted.length > 0;
  by("shown").textContent = wanted.length === entries.size ? String(entries.size) : `${wanted.length} of ${entries.size}`;
}

function flush() {
  if (paused) {
    by("pause").textContent = waiting.length ? `Resume (${waiting.length})` : "Resume";
    return;
  }
  for (const entry of waiting.splice(0)) entries.set(entry.number, entry);
  for (const number of [...entries.keys()].slice(0, Math.max(entries.size - MAX_ROWS, 0))) entries.delete(number);
  showRequests();
}

const soon = (action) => {
  let planned = false;
  return () => {
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => { planned = false; action(); });
  };
};
const flushSoon = soon(flush);

// -- state

const open = new Set();

function accountOf(account) {
  const counts = [[account.installations, "installation"], [account.usage_items, "usage item"], [account.listings, "listing"]];
  const summary = element("summary", {},
    element("span", { class: "name" }, account.friendly_name === account.sid ? "Account" : account.friendly_name),
    element("span", { class: "sid" }, account.sid),
    account.status === "active" ? null : element("span", { class: "tag" }, account.status),
    account.owner_account_sid === account.sid ? null : element("span", { class: "tag", title: account.owner_account_sid }, "subaccount of " + short(account.owner_account_sid)),
    element("span", { class: "soft" }, counts.filter(([count]) => count).map(([count, noun]) => plural(count, noun)).join(", ") || "empty"));
  const details = element("details", { "data-sid": account.sid }, summary);
  details.open = open.has(account.sid);
  details.addEventListener("toggle", attempt(async () => {
    if (!details.open) return void open.delete(account.sid);
    open.add(account.sid);
    if (!details.querySelector(".holding")) await fill(details, account.sid);
  }));
  return details;
}

async function fill(details, sid) {
  const state = await api(`state?account_sid=${sid}&limit=100`);
  const extensions = Map.groupBy ? Map.groupBy(state.extensions, (each) => each.installed_add_on_sid) : null;
  const of = (installation) => (extensions ? extensions.get(installation.sid) || [] : state.extensions.filter((each) => each.installed_add_on_sid === installation.sid));
  const account = accounts.find((each) => each.sid === sid);
  const more = account ? account.installations - state.installations.length : 0;
  const title = (text, list) => (list.length ? element("h3", {}, text) : null);
  details.querySelector(".holding")?.remove();
  details.append(element("div", { class: "holding" },
    element("div", { class: "actions" }, element("button", { type: "button", onclick: () => connectAs(sid) }, "Connect as this account")),
    ...state.installations.map((each) => installationOf(each, of(each))),
    more > 0 ? element("p", { class: "soft" }, `and ${plural(more, "more installation")}`) : null,
    title("Usage", state.usage),
    ...state.usage.map((item) => element("div", { class: "sid" }, `${item.quantity} × ${item.sid} on ${item.installed_add_on_sid}`)),
    title("Listings", state.listings),
    ...state.listings.map((listing) => element("pre", {}, `${listing.sid}\n${JSON.stringify(listing.document, null, 2)}`))));
}

function installationOf(installation, extensions) {
  const configuration = JSON.stringify(installation.configuration, null, 2);
  return element("div", { class: "installation" },
    element("div", {}, element("span", { class: "name" }, installation.unique_name), element("span", { class: "soft" }, installation.friendly_name)),
    element("div", {}, element("span", { class: "sid" }, installation.sid)),
    extensions.length ? element("div", {}, ...extensions.map((each) =>
      element("span", { class: each.enabled ? "tag on" : "tag", title: each.sid }, `${each.unique_name}: ${each.enabled ? "on" : "off"}`))) : null,
    configuration === "{}" ? null : element("pre", {}, configuration));
}

function connectAs(sid) {
  by("account").value = sid;
  showConnect();
  tab("connect");
  document.querySelector(".connect").scrollIntoView({ block: "nearest" });
}

async function refresh() {
  const started = performance.now();
  const [page, faults] = await Promise.all([api("accounts?limit=200"), api("faults")]);
  const changed = JSON.stringify(page) !== refresh.seen;
  if (changed) {
    refresh.seen = JSON.stringify(page);
    accounts = page.accounts;
    const nodes = accounts.map(accountOf);
    for (const node of nodes) if (node.open) await fill(node, node.dataset.sid);
    by("accounts").replaceChildren(...nodes);
    by("accounts-count").textContent = accounts.length < page.total ? `${accounts.length} of ${page.total}` : String(page.total);
    by("no-accounts").hidden = accounts.length > 0;
    showConnect();
  } else {
    for (const node of document.querySelectorAll("#accounts details[open]")) await fill(node, node.dataset.sid);
  }
  showFaults(faults.faults);
  return performance.now() - started;
}

// One refresh at a time, and rarely if it takes long.
let refreshing = false, again = false;
async function refreshSoon() {
  again = true;
  if (refreshing) return;
  refreshing = true;
  while (again) {
    again = false;
    let took = 1000;
    try { took = await refresh(); } catch (error) { show(error); }
    await new Promise((resolve) => setTimeout(resolve, Math.min(Math.max(300, 5 * took), 3000)));
  }
  refreshing = false;
}

// -- faults

const EFFECTS = {
  status: ["Error response", "Status", "429", (value) => ({ status: value })],
  drop: ["Drop the connection", "", "", () => ({ drop: true })],
  delay: ["Delay the response", "Seconds", "1.5", (value) => ({ delay: value })],
  cut: ["Cut the body off", "", "", () => ({ body: "cut" })],
  garbled: ["Garble the body", "", "", () => ({ body: "garbled" })],
  repeated: ["Next link to the page itself", "", "", () => ({ next_link: "repeated" })],
  cyclic: ["Next link to the first page", "", "", () => ({ next_link: "cyclic" })],
  foreign: ["Next link to another host", "", "", () => ({ next_link: "foreign" })],
  drip: ["Send byte by byte", "Seconds", "0.01", (value) => ({ drip: value })],
};

function showFaults(faults) {
  by("faults-count").textContent = String(faults.length);
  by("clear-faults").disabled = faults.length === 0;
  by("faults").replaceChildren(...faults.map((fault) => {
    const limit = fault.times === null ? "" : ` of ${fault.times}`;
    const chance = fault.probability < 1 ? `, ${Math.round(fault.probability * 100)} %` : "";
    return element("li", { class: fault.times !== null && fault.hits >= fault.times ? "spent" : null },
      element("span", { class: "method" }, fault.method), element("span", { class: "path" }, fault.path),
      element("span", { class: "tag fault" }, faultText(fault)),
      element("span", { class: "hits" }, `${fault.hits}${limit} injected${chance}`));
  }));
}

// A text that is no number goes to the emulator as it is: its message says what is wrong.
const number = (text) => (text.trim() !== "" && !Number.isNaN(Number(text)) ? Number(text) : text);

async function addFault(form) {
  const get = (name) => form.elements[name].value;
  const after = get("retry_after");
  await api("faults", { method: "POST", body: {
    method: get("method"), path: get("path"), when: get("when"),
    ...EFFECTS[get("effect")][3](number(get("value"))),
    ...(after ? { retry_after: number(after) } : {}),
    times: get("times") === "" ? null : number(get("times")),
    probability: number(get("probability")),
  } });
}

// -- start

function tab(name) {
  document.body.dataset.tab = name;
  for (const button of document.querySelectorAll("nav button")) button.setAttribute("aria-pressed", String(button.dataset.show === name));
}

function link(state, text) {
  by("link").dataset.state = state;
  by("link").textContent = text;
}

function forget() {
  entries.clear();
  waiting = [];
  flush();
}

async function start() {
  health = await api("health");
  by("url").textContent = health.url;
  by("version").textContent = health.version;
  const after = Math.max(0, health.last_number - MAX_ROWS);
  const stream = new EventSource(`./log?after=${after}&summaries=1`);
  stream.addEventListener("emulator", attempt(async (event) => {
    const { emulator } = JSON.parse(event.data);
    if (emulator !== health.emulator) { // restarted
      health.emulator = emulator;
      forget();
      health = await api("health");
    }
    link("live", "live");
    refreshSoon();
  }));
  stream.addEventListener("request", (event) => {
    const entry = JSON.parse(event.data);
    if (entry.number < (waiting.at(-1) || [...entries.values()].at(-1) || entry).number) forget();
    waiting.push(entry);
    if (waiting.length > MAX_ROWS) waiting.shift();
    flushSoon();
    refreshSoon();
  });
  stream.addEventListener("cleared", () => { forget(); refreshSoon(); });
  stream.onerror = () => link("lost", "disconnected");
}

by("filter").addEventListener("input", showRequests);
by("account").addEventListener("change", showConnect);
by("copy-url").replaceWith(copyButton(() => health.url));
by("pause").addEventListener("click", () => {
  paused = !paused;
  by("pause").setAttribute("aria-pressed", String(paused));
  by("pause").textContent = paused ? "Resume" : "Pause";
  flush();
});
by("clear-log").addEventListener("click", attempt(() => api("log", { method: "DELETE" })));
by("clear-faults").addEventListener("click", attempt(async () => { await api("faults", { method: "DELETE" }); refreshSoon(); }));
by("reset").addEventListener("click", () => by("confirm").showModal());
by("confirm").addEventListener("close", attempt(async () => {
  if (by("confirm").returnValue === "reset") await api("reset", { method: "POST" });
  by("confirm").returnValue = "";
  refreshSoon();
}));
for (const button of document.querySelectorAll("nav button")) button.addEventListener("click", () => tab(button.dataset.show));
const form = by("fault-form");
form.elements.effect.append(...Object.entries(EFFECTS).map(([value, [name]]) => element("option", { value }, name)));
form.elements.effect.addEventListener("change", () => {
  const [, label, value] = EFFECTS[form.elements.effect.value];
  by("value-label").hidden = !label;
  by("value-label").firstElementChild.textContent = label;
  form.elements.value.value = value;
});
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const problem = by("fault-problem");
  try {
    await addFault(form);
    problem.hidden = true;
  } catch (error) {
    problem.hidden = false;
    problem.textContent = visible(error.message);
  }
  refreshSoon();
});
attempt(start)();
