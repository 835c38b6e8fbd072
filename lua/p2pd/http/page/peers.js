// Contacts, dials with what they try, sessions with their pipes.
import { ask } from "/page/api.js";
import { bytes, draw, duration, find, list, make, milliseconds, say } from "/page/dom.js";
import { ownId, showPath } from "/page/network.js";

const SAMPLES = 60; // of a graph, one a second
const DIALS_SHOWN = 5;

// -- contacts: names for addresses, the user's own file

let contacts = {}; // addresses by name
const addresses = new Map(); // by node id: the last one that we were told

export const idOf = (address) => (address.match(/(?:^|-)([A-Za-z0-9]{1,64})$/) || [])[1];

export const isAddress = (text) => /^[A-Za-z0-9]{32,64}$|^[\d,]+-(0|\[.*\])-(0|\[.*\])-[A-Za-z0-9]{1,64}$/.test(text);

/** What people type or paste: blanks, quotes and our own label are forgiven. */
export function clean(text) {
  return text.trim().replace(/^address:\s*/i, "").replace(/^(["'])(.*)\1$/, "$2").trim();
}

export function nameOf(id) {
  const found = Object.entries(contacts).find(([, address]) => idOf(address) === id);
  return found ? found[0] : id === ownId() ? "yourself" : `${id.slice(0, 8)}…`;
}

export function noteAddress(address) {
  if (isAddress(address)) addresses.set(idOf(address), address);
}

export function addressOf(id) {
  return addresses.get(id) || Object.values(contacts).find((address) => idOf(address) === id) || id;
}

async function load() {
  try {
    const found = (await ask("GET", "/v1/contacts")).contacts;
    contacts = Object.fromEntries(found.map((one) => [one.name, one.address]));
    say(find("contacts-fault"), "");
  } catch (failure) {
    say(find("contacts-fault"), failure.message);
  }
  showContacts();
}

async function removeContact(name) {
  await ask("DELETE", `/v1/contacts/${encodeURIComponent(name)}`).catch(() => {});
  await load();
  find("add-contact").firstElementChild.focus(); // the button that had the focus is gone
}

function showContacts() {
  const names = Object.keys(contacts).sort((a, b) => a.localeCompare(b));
  find("no-contacts").hidden = names.length > 0;
  list(find("contacts"), names, (name) => `${name} ${contacts[name]}`, (name) => make("li", null,
    make("h3", null, name), make("p", { class: "hint mono" }, contacts[name]),
    make("div", { class: "row" },
      make("button", { type: "button", "aria-label": `Connect to ${name}`, onclick: () => dial(contacts[name]) }, "Connect"),
      make("button", { type: "button", class: "quiet", "aria-label": `Remove ${name}`, onclick: () => removeContact(name) }, "Remove"))), () => {});
  find("whom-list").replaceChildren(...names.map((name) => make("option", { value: name })));
}

async function addContact(event) {
  event.preventDefault();
  const name = find("contact-name").value.trim(), address = clean(find("contact-address").value);
  try {
    await ask("POST", "/v1/contacts", { name, address });
  } catch (failure) {
    say(find("contact-fault"), failure.message);
    return find(isAddress(address) ? "contact-name" : "contact-address").focus();
  }
  say(find("contact-fault"), "");
  await load();
  find("contact-form").reset();
  find("contact-name").focus();
}

/** Opens the form for a contact, with the address of a peer in it. */
function offerContact(id) {
  find("add-contact").open = true;
  find("contact-address").value = addressOf(id);
  find("contact-name").focus();
}

// -- dials

const REUSED_S = 0.001; // a dial that was over sooner than what it tells of has used the session that was there

const dials = new Map();
let onPipe = () => {};

const isReused = (dial) => dial.state === "connected" &&
  dial.attempts.some((one) => one.ok && (one.began || 0) + (one.seconds || 0) > dial.seconds + REUSED_S);

// The table tells what became of each attempt; the error repeats it in parentheses.
const reasonOf = (dial) => (dial.attempts.length ? dial.error.replace(/ \(.*$/s, "") : dial.error);

const STATES = { redeeming: "looking for who has this code", running: "trying", connected: "connected", failed: "failed", canceled: "canceled" };

const isUnderWay = (dial) => dial.state === "redeeming" || dial.state === "running";

function attemptRows(dial) {
  const whole = Math.max(dial.seconds, 0.001, ...dial.attempts.map((one) => (one.began || 0) + (one.seconds || 0)));
  return dial.attempts.flatMap((one) => {
    const began = Math.min(one.began || 0, whole), took = one.running ? whole - began : one.seconds || 0;
    const state = one.ok ? "good" : one.running ? "wait" : "";
    const bar = make("div", { class: `bar ${state}`, hidden: !one.ok && !one.running && !one.seconds });
    bar.style.left = `${(began / whole) * 100}%`;
    bar.style.width = `${Math.min(1 - began / whole, took / whole) * 100}%`;
    const words = one.ok ? `connected after ${duration(began + took)}` : one.running ? "trying" : one.reason || "not tried to the end";
    return [
      make("tr", null, make("th", { scope: "row" }, one.strategy), make("td", null, make("div", { class: "bar-track" }, bar))),
      make("tr", null, make("td", { class: "what", colspan: 2 }, words)),
    ];
  });
}

function createDial(dial) {
  const item = make("li", { "data-id": dial.id }, make("h3"), make("p", { class: "state", role: "status" }),
    make("table", { class: "waterfall" }, make("caption", null, "What was tried, from left to right in time"), make("tbody")),
    make("button", { type: "button", class: "quiet", onclick: () => ask("DELETE", `/v1/dials/${dial.id}`).catch(() => {})
      .then(() => {
        if (!isUnderWay(dials.get(dial.id))) dials.delete(dial.id);
        showDials();
      }) }));
  return item;
}

function updateDial(item, dial) {
  const text = JSON.stringify(dial);
  if (item.shown === text) return;
  item.shown = text;
  const [title, state, table, button] = item.children, name = nameOf(idOf(dial.address));
  say(title, name);
  const after = isReused(dial) ? " by the session that was there" : isUnderWay(dial) ? "" : ` after ${duration(dial.seconds)}`;
  say(state, `${STATES[dial.state]}${after}${dial.error ? `: ${reasonOf(dial)}` : ""}`);
  state.className = `state ${dial.state === "connected" ? "good" : dial.state === "failed" ? "bad" : ""}`;
  table.hidden = dial.attempts.length === 0 || isReused(dial);
  table.tBodies[0].replaceChildren(...attemptRows(dial));
  say(button, isUnderWay(dial) ? "Cancel" : "Forget");
  button.setAttribute("aria-label", `${button.textContent} the attempt to connect to ${name}`);
}

function showDials() {
  const latest = [...dials.values()].reverse().slice(0, DIALS_SHOWN);
  list(find("dials"), latest, (dial) => dial.id, createDial, updateDial);
}

/** A dial's report has come, by an event or an answer. */
export function noteDial(report) {
  const known = dials.get(report.id);
  if (known && !isUnderWay(known) && isUnderWay(report)) return;
  noteAddress(report.address);
  dials.set(report.id, report);
  showDials();
}

async function watch(id) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 150));
    try {
      const report = await ask("GET", `/v1/dials/${id}`);
      noteDial(report);
      if (!isUnderWay(report)) return report;
    } catch (failure) {
      if (failure.status) {
        const known = dials.get(id);
        if (known && isUnderWay(known)) noteDial({ ...known, state: "canceled" });
        return null;
      }
    }
  }
}

/** Calls somebody, in the open: what is tried is shown. */
export async function dial(address, options = {}) {
  say(find("connect-fault"), "");
  noteAddress(address);
  try {
    const report = await ask("POST", "/v1/dials", { address, protocol: "chat/1", timeout: 30, ...options });
    noteDial(report);
    const done = await watch(report.id);
    if (done && done.pipe) onPipe(done.pipe, idOf(address));
    return done;
  } catch (failure) {
    say(find("connect-fault"), failure.message);
    return null;
  }
}

function connect(event) {
  event.preventDefault();
  const typed = clean(find("whom").value), address = contacts[typed] || typed;
  if (!isAddress(address)) {
    say(find("connect-fault"), "That is neither an address nor a contact.");
    return find("whom").focus();
  }
  const chosen = [...document.querySelectorAll("[name=strategy]:checked")].map((one) => one.value);
  find("whom").value = "";
  dial(address, { timeout: Number(find("seconds").value) || 30, ...(chosen.length ? { strategies: chosen } : {}) });
}

// -- sessions and pipes

const history = new Map(); // by session: what it had sent and received at the last look
const graphs = new Map();  // by session: bytes a second, sent and received
let selected = null, lastLook = -1;

// Looks come sooner when something happens: a graph has one a second.
function sample(sessions) {
  const now = performance.now() / 1000, passed = now - lastLook;
  if (passed < 0.9) return;
  for (const { id, sent = 0, received = 0 } of sessions) {
    const before = history.get(id) || { sent: 0, received: 0 };
    const rate = { sent: Math.max(0, sent - before.sent) / passed, received: Math.max(0, received - before.received) / passed };
    graphs.set(id, [...(graphs.get(id) || []), rate].slice(-SAMPLES));
    history.set(id, { sent, received });
  }
  for (const id of graphs.keys()) {
    if (sessions.some((one) => one.id === id)) continue;
    graphs.delete(id);
    history.delete(id);
  }
  lastLook = now;
}

function line(graph, way, most) {
  const points = graph.map((one, at) => `${SAMPLES - graph.length + at},${(38 - (one[way] / most) * 36).toFixed(1)}`);
  return draw("polyline", { class: way, points: points.join(" ") });
}

function graphOf(id) {
  const graph = graphs.get(id) || [], last = graph.at(-1) || { sent: 0, received: 0 };
  const most = Math.max(1000, ...graph.flatMap((one) => [one.sent, one.received]));
  const words = `Sending ${bytes(last.sent)}/s, receiving ${bytes(last.received)}/s; the highest in a minute ${bytes(most)}/s.`;
  return [draw("svg", { class: "graph", viewBox: `0 0 ${SAMPLES - 1} 40`, preserveAspectRatio: "none", role: "img", "aria-label": `Throughput in the last minute. ${words}` },
    line(graph, "sent", most), line(graph, "received", most)),
  make("p", { class: "hint" }, make("span", { class: "key sent" }, `↑ ${bytes(last.sent)}/s`), " ",
    make("span", { class: "key received" }, `↓ ${bytes(last.received)}/s`), ` · top of the graph ${bytes(most)}/s`)];
}

const pathWords = (path) => `${path.strategy}${path.interface ? ` by ${path.interface}` : ""}, ${path.local || "?"} to ${path.remote || "?"}`;

function facts(pairs) {
  return pairs.filter(([, value]) => value !== undefined && value !== null && value !== "")
    .flatMap(([name, value]) => [make("dt", null, name), make("dd", null, String(value))]);
}

function createSession(session) {
  const button = (text, onclick, more) => make("button", { type: "button", class: "quiet", onclick, ...more }, text);
  return make("li", { "data-id": session.id }, make("h3"), make("dl"), make("div", { class: "graph-place" }),
    make("details", null, make("summary", null, "Pipes and earlier paths"), make("div")),
    make("div", { class: "row" },
      button("Show in the drawing", () => {
        selected = session.id;
        refresh();
      }, { "aria-pressed": "false" }),
      button("Add to contacts", () => offerContact(session.peer)),
      button("Close", () => ask("DELETE", `/v1/sessions/${session.id}`).catch(() => {}).then(refresh))));
}

function pipeRow(pipe) {
  const cells = [pipe.protocol || "none", bytes(pipe.sent || 0), bytes(pipe.received || 0), pipe.rtt ? milliseconds(pipe.rtt) : ""];
  return make("tr", null, ...cells.map((cell) => make("td", null, cell)));
}

function insideOf(session, pipes) {
  const own = pipes.filter((pipe) => pipe.session === session.id), others = session.pipes - own.length;
  const heads = ["Protocol", "Sent", "Received", "Round trip"].map((head) => make("th", { scope: "col" }, head));
  return [
    make("table", null, make("caption", null, `Pipes: ${own.length}${others > 0 ? `, and ${others} of the node's own` : ""}`),
      make("thead", null, make("tr", null, ...heads)), make("tbody", null, ...own.map(pipeRow))),
    make("table", null, make("caption", null, "Paths, the first one first"), make("tbody", null, ...session.story.map((path) =>
      make("tr", null, make("td", null, pathWords(path)), make("td", null, path.why || "in use"))))),
  ];
}

function updateSession(item, { session, pipes }) {
  const [title, table, graph, details, row] = item.children, name = nameOf(session.peer);
  say(title, name);
  table.replaceChildren(...facts([
    ["Path", session.path ? pathWords(session.path) : "broken; another one is being looked for"],
    ["Round trip", session.rtt ? milliseconds(session.rtt) : undefined],
    ["Encrypted", session.secure ? "yes (TLS 1.3)" : "no"],
    ["Since", duration(session.age)],
    ["Resumed", session.resumed ? `${session.resumed} ${session.resumed === 1 ? "time" : "times"}` : undefined],
  ]));
  graph.replaceChildren(...graphOf(session.id));
  details.lastElementChild.replaceChildren(...insideOf(session, pipes));
  row.children[0].setAttribute("aria-pressed", String(session.id === selected));
  for (const [at, words] of [[0, `Show in the drawing: the path to ${name}`], [1, `Add to contacts: ${name}`], [2, `Close: the session with ${name}`]]) {
    row.children[at].setAttribute("aria-label", words);
  }
}

function showSelected(sessions) {
  const one = sessions.find((session) => session.id === selected) || sessions.at(-1);
  selected = one ? one.id : null;
  showPath(one ? { session: one, name: nameOf(one.peer), address: addresses.get(one.peer) } : null);
}

/** Looks at sessions and pipes; returns the pipes. */
export async function refresh() {
  const [{ sessions }, { pipes }] = await Promise.all([ask("GET", "/v1/sessions"), ask("GET", "/v1/pipes")]);
  sample(sessions);
  showSelected(sessions);
  find("no-sessions").hidden = sessions.length > 0;
  list(find("sessions"), sessions.map((session) => ({ session, pipes })), (one) => one.session.id,
    (one) => createSession(one.session), updateSession);
  return pipes;
}

/** `given` is called with each pipe that a dial of ours has made. */
export async function start(given) {
  onPipe = given;
  await load();
  find("contact-form").addEventListener("submit", addContact);
  find("connect-form").addEventListener("submit", connect);
  for (const report of (await ask("GET", "/v1/dials")).dials) {
    noteDial(report);
    if (isUnderWay(report)) watch(report.id);
  }
}
