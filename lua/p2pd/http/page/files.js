// Files: the node sends and receives them (files/1, as p2pd send and p2pd recv do), and keeps what has come. The
// page shows its transfers, whoever began them, and asks its user what is wanted.
import { ask, request, upload } from "/page/api.js";
import { bytes, find, list, make, say } from "/page/dom.js";
import { addressOf, nameOf } from "/page/peers.js";
import { currentPeer, note } from "/page/talk.js";

const LOOK_MS = 400;
const SHOWN_MAX = 10, SAVES_MAX = 20;
const OVER = ["done", "failed", "refused", "canceled"];

const transfers = new Map(); // by id, as the node tells of them
const uploads = new Set();   // files that are on their way to the node

const isOver = (one) => OVER.includes(one.state);
const titleOf = (one) => (one.files > 1 ? `${one.name}: ${one.files} files` : one.name || "nothing");
const wayOf = (one) => (one.direction === "send" ? `to ${nameOf(one.peer)}` : `from ${nameOf(one.peer)}`);

const STATES = {
  uploading: (one) => `goes to your node: ${bytes(one.moved)}`,
  offered: () => "waits for your answer",
  running: (one) => (one.direction === "send" && one.moved === 0 ? "waits for an answer" : bytes(one.moved)),
  done: (one) => (one.direction === "send" ? "has arrived" : "is here"),
  failed: (one) => `failed: ${one.error}`,
  refused: () => "refused",
  canceled: () => "canceled",
};

/** What a transfer is at, in words. */
export const describe = (one) => `${titleOf(one)} ${wayOf(one)}: ${STATES[one.state](one)}`;

// -- what is shown

// The browser has it as a whole before it saves it.
async function save(item, button) {
  button.disabled = true;
  try {
    const url = URL.createObjectURL(await (await request("GET", item.url)).blob());
    make("a", { href: url, download: item.path.split("/").pop() }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60000);
  } catch (failure) {
    say(button, `${item.path}: ${failure.message}`);
  }
  button.disabled = false;
}

const remove = (one) => (one.abort ? one.abort.abort() : ask("DELETE", `/v1/transfers/${one.id}`).catch(() => {}));

function createItem(one) {
  return make("li", null, make("p"), make("progress", { max: Math.max(one.bytes, 1), "aria-label": `Progress of ${titleOf(one)}` }),
    make("button", { type: "button", class: "quiet", "aria-label": `Cancel ${titleOf(one)}`, onclick: () => remove(one) }, "Cancel"),
    make("div", { class: "row" }));
}

const createSave = (item) => make("button", { type: "button", class: "save", onclick: (event) => save(item, event.target) }, `Save ${item.path}`);

function updateItem(item, one) {
  const [words, progress, button, saves] = item.children;
  say(words, `${describe(one)} (${bytes(one.bytes)})`);
  words.className = one.state === "done" ? "good" : isOver(one) ? "bad" : "";
  progress.value = one.moved;
  progress.hidden = button.hidden = isOver(one);
  if (isOver(one)) list(saves, one.items.filter((file) => file.url).slice(-SAVES_MAX), (file) => file.path, createSave, () => {});
}

function createOffer(one) {
  const accept = () => ask("POST", "/v1/transfers/accept", { id: one.id }).catch(refresh);
  return make("div", { class: "drop" },
    make("p", null, make("strong", null, nameOf(one.peer)), ` offers you ${titleOf(one)} (${bytes(one.bytes)}).`),
    make("div", { class: "row" },
      make("button", { type: "button", "aria-label": `Take it: ${titleOf(one)}`, onclick: accept }, "Take it"),
      make("button", { type: "button", class: "quiet", "aria-label": `No: ${titleOf(one)}`, onclick: () => remove(one) }, "No")));
}

function show() {
  const all = [...transfers.values()];
  const shown = [...all.filter((one) => one.state !== "uploading" && one.state !== "offered"), ...uploads];
  list(find("transfers"), shown.slice(-SHOWN_MAX).reverse(), (one) => one.id || one, createItem, updateItem);
  list(find("offers"), all.filter((one) => one.state === "offered"), (one) => one.id, createOffer, () => {});
}

// -- what the node tells

let timer = null;

// Events tell of new states; how much has moved is looked at.
function lookLater() {
  if (timer || ![...transfers.values()].some((one) => one.state === "running")) return;
  timer = setTimeout(() => {
    timer = null;
    refresh();
  }, LOOK_MS);
}

/** Looks at all transfers. */
export async function refresh() {
  try {
    const found = (await ask("GET", "/v1/transfers")).transfers;
    transfers.clear();
    for (const one of found) transfers.set(one.id, one);
    show();
  } catch { /* the next look may tell */ }
  lookLater();
}

/** A transfer has a new state. */
export function noteTransfer(one) {
  transfers.set(one.id, one);
  if (isOver(one)) note(one.peer, `${describe(one)} (${bytes(one.bytes)}).`);
  show();
  lookLater();
}

// -- sending, one after the other

let sending = Promise.resolve();

async function sendFile(one, file) {
  try {
    one.abort.signal.throwIfAborted();
    const query = new URLSearchParams({ to: addressOf(one.peer), name: file.name, background: "true" });
    await upload(`/v1/transfers?${query}`, file, (done) => {
      one.moved = done;
      show();
    }, one.abort.signal);
    uploads.delete(one);
    await refresh();
  } catch (failure) {
    one.state = failure.name === "AbortError" ? "canceled" : "failed";
    one.error = failure.message;
    show();
  }
}

function sendFiles(files) {
  const peer = currentPeer();
  if (!peer) return;
  for (const file of files) {
    const one = { peer, name: file.name, direction: "send", files: 1, bytes: file.size, moved: 0, state: "uploading", items: [],
      abort: new AbortController() };
    uploads.add(one);
    sending = sending.then(() => sendFile(one, file));
  }
  show();
}

export function start() {
  const drop = find("drop"), input = find("file");
  input.addEventListener("change", () => {
    sendFiles([...input.files]);
    input.value = "";
  });
  const over = (isOverIt) => (event) => {
    event.preventDefault();
    drop.classList.toggle("over", isOverIt);
  };
  drop.addEventListener("dragover", over(true));
  drop.addEventListener("dragleave", over(false));
  drop.addEventListener("drop", (event) => {
    over(false)(event);
    sendFiles([...event.dataTransfer.files]);
  });
  // A file that misses the place must not replace the page.
  for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
}
