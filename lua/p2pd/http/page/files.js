// Files: pipes of the protocol page-file/1. The sender says {name, size}, the receiver {ok} once its user has
// agreed; then come the bytes and the end, and the receiver says {received}.
import { ask, closePipe, request, upload } from "/page/api.js";
import { bytes, find, list, make, say } from "/page/dom.js";
import { encode, Reader } from "/page/frames.js";
import { addressOf, nameOf } from "/page/peers.js";
import { currentPeer, note } from "/page/talk.js";

const PROTOCOL = "page-file/1";
const OFFERS_MAX = 20;
const ANSWER_S = 600; // for the other side's user
const WAIT_S = 20;    // of one look

const transfers = [];
const shownMax = 10;

// -- messages beside the bytes

const sendMessage = (id, value) => request("POST", `/v1/pipes/${id}/data`, encode(JSON.stringify(value)),
  { headers: { "Content-Type": "application/octet-stream" } });

async function readMessage(id, seconds, signal) {
  const reader = new Reader(), end = performance.now() + seconds * 1000;
  while (performance.now() < end) {
    const answer = await request("GET", `/v1/pipes/${id}/data?wait=${WAIT_S}&max=4096`, undefined, { signal });
    if (answer.status === 204) continue;
    reader.push(new Uint8Array(await answer.arrayBuffer()));
    const text = reader.next();
    if (text !== undefined) return JSON.parse(text);
  }
  throw new Error("the other side did not answer");
}

// -- what is shown

function newTransfer(peer, name, size, isSent) {
  const transfer = { peer, name, size, done: 0, state: "waits", isSent, abort: new AbortController(), key: transfers.length };
  transfers.push(transfer);
  show();
  return transfer;
}

function createItem(one) {
  const item = make("li", null, make("p"), make("progress", { max: Math.max(one.size, 1), "aria-label": `Progress of ${one.name}` }),
    make("button", { type: "button", class: "quiet", "aria-label": `Cancel ${one.name}`, onclick: () => one.abort.abort() }, "Cancel"));
  if (one.link) item.append(one.link);
  return item;
}

function updateItem(item, one) {
  const [words, progress, button] = item.children, isOver = one.state === "done" || one.state === "failed";
  const way = one.isSent ? `to ${nameOf(one.peer)}` : `from ${nameOf(one.peer)}`;
  const state = { waits: "waits for an answer", moves: bytes(one.done), done: one.isSent ? "has arrived" : "is here", failed: `failed: ${one.reason}` }[one.state];
  say(words, `${one.name} ${way}: ${state} (${bytes(one.size)})`);
  words.className = one.state === "failed" ? "bad" : one.state === "done" ? "good" : "";
  progress.value = one.size ? one.done : one.state === "done" ? 1 : 0;
  progress.hidden = isOver;
  button.hidden = isOver;
  if (one.link && one.link.parentNode !== item) item.append(one.link);
}

function show() {
  list(find("transfers"), transfers.slice(-shownMax).reverse(), (one) => one.key, createItem, updateItem);
}

function finish(transfer, failure) {
  transfer.state = failure ? "failed" : "done";
  transfer.reason = failure && (failure.name === "AbortError" ? "canceled" : failure.message);
  note(transfer.peer, failure ? `${transfer.name}: ${transfer.reason}.` :
    transfer.isSent ? `You sent ${transfer.name} (${bytes(transfer.size)}).` : `${transfer.name} (${bytes(transfer.size)}) has arrived.`);
  show();
}

// -- sending, one after the other

let sending = Promise.resolve();

async function sendBytes(transfer, file, id) {
  const signal = transfer.abort.signal;
  await sendMessage(id, { name: file.name, size: file.size });
  const verdict = await readMessage(id, ANSWER_S, signal);
  if (!verdict.ok) throw new Error("the other side does not want it");
  transfer.state = "moves";
  if (file.size > 0) {
    await upload(`/v1/pipes/${id}/data`, file, (done) => {
      transfer.done = done;
      show();
    }, signal);
  }
  await ask("POST", `/v1/pipes/${id}/end`);
  const { received } = await readMessage(id, 60, signal);
  if (received !== file.size) throw new Error("it did not arrive whole");
}

async function sendFile(transfer, file) {
  let pipe;
  try {
    transfer.abort.signal.throwIfAborted();
    pipe = await ask("POST", "/v1/pipes", { address: addressOf(transfer.peer), protocol: PROTOCOL, timeout: 30 }, { signal: transfer.abort.signal });
    await sendBytes(transfer, file, pipe.id);
    finish(transfer);
  } catch (failure) {
    finish(transfer, failure);
  }
  if (pipe) closePipe(pipe.id);
}

function sendFiles(files) {
  const peer = currentPeer();
  if (!peer) return;
  for (const file of files) {
    const transfer = newTransfer(peer, file.name, file.size, true);
    sending = sending.then(() => sendFile(transfer, file));
  }
}

// -- receiving: nothing is taken before the user says so

let receiving = Promise.resolve();

function askUser(peer, name, size) {
  return new Promise((resolve) => {
    const decide = (verdict) => () => {
      offer.remove();
      resolve(verdict);
    };
    const offer = make("div", { class: "drop" },
      make("p", null, make("strong", null, nameOf(peer)), ` offers you ${name} (${bytes(size)}).`),
      make("div", { class: "row" },
        make("button", { type: "button", "aria-label": `Take it: ${name}`, onclick: decide(true) }, "Take it"),
        make("button", { type: "button", class: "quiet", "aria-label": `No: ${name}`, onclick: decide(false) }, "No")));
    find("offers").append(offer);
    setTimeout(decide(false), ANSWER_S * 1000);
  });
}

async function readBytes(transfer, id) {
  const answer = await request("GET", `/v1/pipes/${id}/data`, undefined, { signal: transfer.abort.signal });
  const reader = answer.body.getReader(), pieces = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    transfer.done += value.length;
    if (transfer.done > transfer.size) throw new Error("more came than was announced");
    show();
  }
  if (transfer.done !== transfer.size) throw new Error("it broke off");
  return new Blob(pieces, { type: "application/octet-stream" });
}

async function receiveFile(transfer, id) {
  try {
    transfer.state = "moves";
    await sendMessage(id, { ok: true });
    const blob = await readBytes(transfer, id);
    await sendMessage(id, { received: transfer.done });
    transfer.link = make("a", { href: URL.createObjectURL(blob), download: transfer.name }, `Save ${transfer.name}`);
    finish(transfer);
  } catch (failure) {
    finish(transfer, failure);
  }
  closePipe(id);
}

const plainName = (name) => String(name).replace(/[\p{C}/\\]/gu, "_").slice(0, 200) || "file";

/** A peer has made a pipe to send a file by. */
export async function take(id, peer) {
  try {
    if (find("offers").childElementCount >= OFFERS_MAX) throw new Error("too many offers wait");
    const about = await readMessage(id, WAIT_S);
    const name = plainName(about.name), size = about.size;
    if (!Number.isSafeInteger(size) || size < 0) throw new Error("a size that is none");
    if (!(await askUser(peer, name, size))) {
      await sendMessage(id, { ok: false });
      throw new Error("refused");
    }
    const transfer = newTransfer(peer, name, size, false);
    receiving = receiving.then(() => receiveFile(transfer, id));
  } catch {
    closePipe(id);
  }
}

export const protocol = PROTOCOL;

export function start() {
  const drop = find("drop"), input = find("file");
  input.addEventListener("change", () => {
    sendFiles(input.files);
    input.value = "";
  });
  const over = (isOver) => (event) => {
    event.preventDefault();
    drop.classList.toggle("over", isOver);
  };
  drop.addEventListener("dragover", over(true));
  drop.addEventListener("dragleave", over(false));
  drop.addEventListener("drop", (event) => {
    over(false)(event);
    sendFiles(event.dataTransfer.files);
  });
  // A file that misses the place must not replace the page.
  for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
}
