"use strict";
// Everything shown comes from requests, so it is hostile: it is only ever set as text.

async function request(url, { method = "GET", body } = {}) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  const response = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
  const document = response.status === 204 ? null : await response.json();
  if (!response.ok) throw new Error(document.message);
  return document;
}

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") node.addEventListener("click", value);
    else if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null).map((child) =>
    typeof child === "string" ? visible(child) : child));
  return node;
}

// Characters that hide or reorder text are shown as escapes.
function visible(text) {
  return text.replace(
    /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g,
    (character) => "\\u" + character.charCodeAt(0).toString(16).padStart(4, "0"));
}

const short = (sid) => (sid ? sid.slice(0, 4) + "…" + sid.slice(-4) : "");
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// A form is shown as one field per line.
function prettyBody(text, type) {
  if (!type.includes("x-www-form-urlencoded")) return pretty(text);
  const fields = [...new URLSearchParams(text)];
  return fields.map(([name, value]) => `${name} = ${pretty(value)}`).join("\n") || text;
}

function show(error) {
  by("problem").hidden = !error;
  by("problem").textContent = error ? visible(error.message || String(error)) : "";
}

const attempt = (action) => async (...values) => {
  try {
    await action(...values);
    show(null);
  } catch (error) {
    show(error);
  }
};

function copyButton(text, label = "Copy") {
  const button = element("button", { type: "button" }, label);
  button.addEventListener("click", attempt(async () => {
    await copy(typeof text === "function" ? await text() : text);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1200);
  }));
  return button;
}

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Over plain HTTP on another machine, there is no clipboard API.
  const area = element("textarea", { "aria-hidden": "true", class: "copied" });
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

// -- lines to copy

function shell(text) {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text;
  const quoted = text.replace(/[\\']/g, "\\$&");
  // Control characters are escaped: a terminal would obey them.
  if (/[\u0000-\u001f\u007f-\u009f]/.test(text)) {
    return "$'" + quoted.replace(/[\u0000-\u001f\u007f-\u009f]/g,
      (character) => "\\u" + character.charCodeAt(0).toString(16).padStart(4, "0")) + "'";
  }
  return "'" + text.replace(/'/g, "'\\''") + "'";
}

function secretOf(sid) {
  const known = accounts.find((account) => account.sid === sid);
  return (known && known.auth_token) || (health.accepts_any_credentials ? "made-up" : "YOUR_AUTH_TOKEN");
}

function curlOf(entry) {
  const path = entry.path.split("/").map(encodeURIComponent).join("/");
  const parts = ["curl", shell(health.url + path + (entry.query ? "?" + entry.query : ""))];
  if (entry.method !== "GET") parts.push("-X", shell(entry.method));
  const sid = entry.account_sid;
  if (sid) parts.push("-u", shell(`${sid}:${secretOf(sid)}`));
  if (entry.body) parts.push("-H", shell("Content-Type: " + header(entry, "content-type")), "--data-raw", shell(entry.body));
  return parts.join(" ");
}

const header = (entry, name) => (entry.headers.find(([each]) => each.toLowerCase() === name) || ["", ""])[1];

function snippets(sid) {
  const url = health.url, secret = secretOf(sid);
  const [u, s, t] = [url, sid, secret].map((value) => JSON.stringify(value));
  return {
    "Shell": `export MARKETPLACE_BASE_URL=${shell(url)}\nexport TWILIO_ACCOUNT_SID=${sid} TWILIO_AUTH_TOKEN=${shell(secret)}`,
    "curl": `curl -u ${shell(`${sid}:${secret}`)} ${shell(url + "/v1/AvailableAddOns?PageSize=3")}`,
    "Python: marketplace_async": `client = MarketplaceClient(AccountToken(${s}, ${t}), base_url=${u})`,
    "Python: twilio": `client = twilio.rest.Client(${s}, ${t})\nclient.marketplace.base_url = client.api.base_url = ${u}`,
    "Node: twilio": `const client = require("twilio")(${s}, ${t});\nclient.marketplace.baseUrl = client.api.baseUrl = ${u};`,
  };
}

