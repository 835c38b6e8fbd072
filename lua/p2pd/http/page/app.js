// The page of a node: begins, follows the events, and looks at what they do not tell.
import { ask, findToken, follow, setToken } from "/page/api.js";
import { clock, find, make, say } from "/page/dom.js";
import * as files from "/page/files.js";
import * as network from "/page/network.js";
import * as peers from "/page/peers.js";
import * as talk from "/page/talk.js";

const EVENTS_SHOWN = 200;
const LOOK_MS = 1000;
const ACCEPT_S = 60;

// -- events, in words

const WORDS = {
  address: (event) => (event.was ? "Your address is another one now." : "Your address is known."),
  interface: (event) => `Interface ${event.name}: ${event.gone ? "gone" : [...(event.ipv4 || []), ...(event.ipv6 || [])].join(", ")}.`,
  nat: (event) => `The router of ${event.interface} was looked at${event.external ? `: from outside you are ${event.external}` : ""}.`,
  broker: (event) => `Server ${event.name}: ${event.state}${event.reason ? ` (${event.reason})` : ""}.`,
  mapping: (event) => `A port on the router of ${event.interface}: ${event.state}${event.port ? ` (${event.port})` : ""}${event.reason ? `, ${event.reason}` : ""}.`,
  pipe: (event) => `${event.accepted ? "A pipe from" : "A pipe to"} ${peers.nameOf(event.peer)} (${event.strategy}${event.protocol ? `, ${event.protocol}` : ""}).`,
  path: (event) => `The session with ${peers.nameOf(event.peer)} goes by ${event.to || "no path"}${event.from ? `, before by ${event.from}` : ""}${event.why ? `: ${event.why}` : ""}${event.pause ? ` (paused ${event.pause.toFixed(2)} s)` : ""}.`,
  refusal: (event) => `Refused${event.from ? ` (${event.from})` : ""}: ${event.reason}.`,
  dial: (event) => `Connecting to ${peers.nameOf(peers.idOf(event.address))}: ${event.state}.`,
  transfer: (event) => `${files.describe(event)}.`,
  missed: () => "Some events were missed.",
};

function addEvent(type, event) {
  const words = WORDS[type] ? WORDS[type](event) : `${type}: ${JSON.stringify(event)}`;
  const log = find("events");
  log.prepend(make("li", null, clock(), words));
  if (log.childElementCount > EVENTS_SHOWN) log.lastElementChild.remove();
}

let soon = null;

// Many come at once: one look is enough for them.
function lookSoon() {
  if (soon) return;
  soon = setTimeout(() => {
    soon = null;
    network.refresh().catch(() => {});
    peers.refresh().catch(() => {});
  }, 100);
}

function onEvent(type, event) {
  addEvent(type, event);
  if (type === "dial") peers.noteDial(event);
  else if (type === "transfer") files.noteTransfer(event);
  else lookSoon();
}

// -- whether the node is there

let lostAt = null;

function onState(state) {
  if (state === "refused") return signIn("The node does not know this token: it has been started anew.");
  const isThere = state === "there";
  if (isThere) lostAt = null;
  else lostAt = lostAt || new Date().toTimeString().slice(0, 8);
  say(find("live"), isThere ? "Live" : "Not connected");
  find("live").className = `badge ${isThere ? "good" : "bad"}`;
  find("lost").hidden = isThere;
  say(find("lost"), isThere ? "" : `The connection to the node was lost at ${lostAt}. What you see is from then; it is tried again.`);
  if (isThere) {
    lookSoon();
    files.refresh();
  }
}

// -- what peers make

async function accept(protocol, take) {
  for (;;) {
    try {
      const pipe = await ask("POST", "/v1/pipes/accept", { protocol, timeout: ACCEPT_S });
      take(pipe.id, pipe.peer);
    } catch (failure) {
      if (failure.status === 401) return;
      if (failure.code !== "ETIMEDOUT") await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}

// One tab takes what comes, the others take over when it is closed.
function acceptCalls() {
  const all = () => accept("chat/1", talk.attach);
  if (navigator.locks) navigator.locks.request("p2pd.accept", all);
  else all();
}

async function look() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    if (!document.hidden && !lostAt) await peers.refresh().catch(() => {});
  }
}

// -- the beginning

function signIn(fault) {
  find("content").hidden = true;
  find("sign-in").hidden = false;
  say(find("live"), "Token needed");
  say(find("token-fault"), fault || "");
  find("token").focus();
}

async function open() {
  try {
    await network.refresh();
  } catch (failure) {
    if (failure.status === 401) return signIn(find("token").value ? "This token is wrong." : "");
    onState("lost");
    return setTimeout(open, 2000);
  }
  find("sign-in").hidden = true;
  find("content").hidden = false;
  find("content").dataset.started = "yes";
  talk.start();
  files.start();
  await peers.start(talk.attach).catch(() => {});
  follow(onEvent, onState);
  acceptCalls();
  look();
}

network.start();
find("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken(find("token").value.trim());
  if (find("content").dataset.started) location.reload();
  else open();
});
if (findToken()) open();
else signIn();
