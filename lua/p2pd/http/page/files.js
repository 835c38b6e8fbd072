// Files: the node sends and receives them (files/1, as p2pd send and p2pd recv do), and keeps what has come. The
// page shows its transfers, whoever began them, and asks its user what is wanted.
import { ask, request, upload as sendBody } from "/page/api.js";
import { bytes, find, list, make, say } from "/page/dom.js";
import { addressOf, nameOf } from "/page/peers.js";
import { currentPeer, note } from "/page/talk.js";

const LOOK_MS = 400;
const SHOWN_MAX = 10, SAVES_MAX = 20;
const OVER = ["done", "failed", "refused", "canceled"];

const transfers = new Map(); // by id, as the node tells of them
const uploads = new Set();   // files that are on their way to the node

const isOver = (one) => OVER.includes(one.state);
const titleOf = (one) => (one.files > 1 ? `${one.name}, ${one.files} files in all` : one.name || "nothing");
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

// One file is the body, several are a form.
function bodyOf(files) {
  if (files.length === 1 && !files[0].path.includes("/")) return files[0].file;
  const form = new FormData();
  for (const { file, path } of files) form.append("files", file, path);
  return form;
}

async function upload(one, files) {
  try {
    one.abort.signal.throwIfAborted();
    const body = bodyOf(files);
    const query = new URLSearchParams({ to: addressOf(one.peer), background: "true" });
    if (body instanceof File) query.set("name", one.name);
    await sendBody(`/v1/transfers?${query}`, body, (done) => {
      one.moved = Math.min(done, one.bytes);
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

// Files with their paths go as one transfer.
function sendFiles(files) {
  const peer = currentPeer();
  if (!peer || files.length === 0) return;
  const one = { peer, name: files[0].path.split("/")[0], direction: "send", files: files.length,
    bytes: files.reduce((sum, { file }) => sum + file.size, 0), moved: 0, state: "uploading", items: [],
    abort: new AbortController() };
  uploads.add(one);
  sending = sending.then(() => upload(one, files));
  show();
}

// -- what is chosen, and dropped

const withPath = (file) => ({ file, path: file.webkitRelativePath || file.name });

// A folder tells of its entries some at a time, until there are no more.
async function entriesOf(folder) {
  const reader = folder.createReader(), all = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return all;
    all.push(...some);
  }
}

async function filesOf(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ file, path: entry.fullPath.replace(/^\//, "") });
  } else {
    for (const inner of await entriesOf(entry)) await filesOf(inner, found);
  }
}

// What was dropped has to be asked for at once: the browser forgets it.
async function takeDropped(carried) {
  const entries = [...carried.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return sendFiles([...carried.files].map(withPath));
  const found = [];
  try {
    for (const entry of entries) await filesOf(entry, found);
  } catch (failure) {
    return note(currentPeer(), `Not sent: what was dropped can't be read (${failure.message}).`);
  }
  if (found.length === 0) return note(currentPeer(), "Not sent: there is no file in the folder.");
  sendFiles(found);
}

function chooseBy(button, input) {
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    sendFiles([...input.files].map(withPath));
    input.value = "";
  });
}

export function start() {
  const drop = find("drop");
  chooseBy(find("choose-files"), find("file"));
  chooseBy(find("choose-folder"), find("folder"));
  const over = (isOverIt) => (event) => {
    event.preventDefault();
    drop.classList.toggle("over", isOverIt);
  };
  drop.addEventListener("dragover", over(true));
  drop.addEventListener("dragleave", over(false));
  drop.addEventListener("drop", (event) => {
    over(false)(event);
    if (currentPeer()) takeDropped(event.dataTransfer);
  });
  // A file that misses the place must not replace the page.
  for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
}
