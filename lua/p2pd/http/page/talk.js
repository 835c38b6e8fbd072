// Chat: pipes of the protocol chat/1, whose messages are "name NAME", "say TEXT" and "bye".
import { closePipe, openSocket } from "/page/api.js";
import { clock, find, list, make, say } from "/page/dom.js";
import { encode, Reader } from "/page/frames.js";
import { ownName } from "/page/network.js";
import { addressOf, dial, nameOf } from "/page/peers.js";

const LINES_MAX = 500;

const talks = new Map(); // by node id: peer, nick, lines, pipes (id to socket)
let current = null;

function talkWith(peer) {
  if (!talks.has(peer)) talks.set(peer, { peer, nick: "", lines: [], pipes: new Map(), unread: 0 });
  return talks.get(peer);
}

function titleOf(talk) {
  const known = nameOf(talk.peer);
  return talk.nick && known.endsWith("…") && !known.startsWith(talk.nick) ? `${talk.nick} (${known})` : known;
}

function addLine(talk, who, text, isNote) {
  const line = make("p", { class: isNote ? "note" : undefined }, clock(), who ? make("strong", null, `${who}: `) : "", text);
  talk.lines.push(line);
  if (talk === current) {
    const log = find("log"), isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.append(line);
    if (isAtEnd) log.scrollTop = log.scrollHeight;
  } else {
    talk.unread++;
  }
  if (talk.lines.length > LINES_MAX) talk.lines.shift().remove();
  show();
}

function select(talk) {
  current = talk;
  talk.unread = 0;
  find("log").replaceChildren(...talk.lines);
  find("log").scrollTop = find("log").scrollHeight;
  show();
}

function show() {
  if (!current && talks.size > 0) return select([...talks.values()].at(-1));
  find("talk").hidden = talks.size === 0;
  find("nobody").hidden = talks.size > 0;
  list(find("who"), [...talks.values()], (talk) => talk.peer,
    (talk) => make("button", { type: "button", onclick: () => select(talk) }),
    (button, talk) => {
      say(button, `${titleOf(talk)}${talk.pipes.size ? "" : " (away)"}${talk.unread ? `, ${talk.unread} new` : ""}`);
      button.setAttribute("aria-pressed", String(talk === current));
    });
}

/** The peer of the conversation that is shown, or null. */
export const currentPeer = () => current && current.peer;

/** A note in the conversation with a peer. */
export const note = (peer, text) => addLine(talkWith(peer), null, text, true);

const HANDLERS = {
  say: (talk, text) => addLine(talk, titleOf(talk), text),
  name: (talk, text) => {
    talk.nick = text.slice(0, 32);
    show();
  },
};

function leave(talk, id, why) {
  if (!talk.pipes.delete(id)) return;
  closePipe(id);
  if (talk.pipes.size === 0) addLine(talk, null, `${titleOf(talk)} has left${why ? `: ${why}` : "."}`, true);
}

function receive(talk, id, reader, data) {
  reader.push(new Uint8Array(data));
  for (let text; (text = reader.next()) !== undefined; ) {
    const [, kind, rest] = text.match(/^([A-Za-z]+) ?([^]*)$/) || [];
    if (kind === "bye") return leave(talk, id);
    if (HANDLERS[kind]) HANDLERS[kind](talk, rest);
  }
}

/** Talks by a pipe from now on. */
export function attach(id, peer) {
  const talk = talkWith(peer), socket = openSocket(id), reader = new Reader();
  if (talk.pipes.has(id)) return;
  talk.pipes.set(id, socket);
  socket.onopen = () => {
    socket.send(encode(`name ${ownName()}`));
    if (talk.pipes.size === 1) addLine(talk, null, `${titleOf(talk)} is here.`, true);
  };
  socket.onmessage = (event) => {
    try {
      receive(talk, id, reader, event.data);
    } catch (failure) {
      leave(talk, id, failure.message);
    }
  };
  socket.onclose = (event) => leave(talk, id, event.code === 1000 ? "" : event.reason || "the connection broke");
  select(talk);
}

async function send(event) {
  event.preventDefault();
  const field = find("say"), text = field.value, talk = current;
  if (!text || !talk) return;
  const findOpen = () => [...talk.pipes.values()].find((socket) => socket.readyState === WebSocket.OPEN);
  if (!findOpen()) await dial(addressOf(talk.peer));
  for (let tries = 0; !findOpen() && talk.pipes.size && tries < 50; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const socket = findOpen();
  if (!socket) return addLine(talk, null, "Not sent: the peer can't be reached.", true);
  socket.send(encode(`say ${text}`));
  if (field.value === text) field.value = "";
  addLine(talk, "You", text);
}

function leaveAll() {
  for (const talk of talks.values()) {
    for (const [id, socket] of talk.pipes) {
      if (socket.readyState === WebSocket.OPEN) socket.send(encode("bye"));
      closePipe(id, true);
    }
    talk.pipes.clear();
  }
}

export function start() {
  find("say-form").addEventListener("submit", send);
  addEventListener("pagehide", leaveAll);
}
