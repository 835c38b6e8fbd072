// The node's API: requests with the token, WebSockets, events.

const SILENCE_MS = 40000; // the node says something every 15 s
const RETRY_MS = [500, 1000, 2000, 5000];

let token = "";

export class Problem extends Error {
  constructor(status, about) {
    super(about.detail || about.title || `status ${status}`);
    this.status = status;
    this.code = about.code;
  }
}

/** Takes the token out of the URL, or the one that this tab had. */
export function findToken() {
  const given = decodeURIComponent(location.hash.slice(1));
  if (/^[\w-]{16,256}$/.test(given)) {
    setToken(given);
    history.replaceState(null, "", location.pathname);
  } else {
    token = sessionStorage.getItem("p2pd.token") || "";
  }
  return token !== "";
}

export function setToken(value) {
  token = value;
  sessionStorage.setItem("p2pd.token", value);
}

/** A request; what failed is thrown as a Problem, a node that is not there as a TypeError. */
export async function request(method, path, body, more = {}) {
  const headers = { Authorization: `Bearer ${token}`, ...more.headers };
  if (body !== undefined && !headers["Content-Type"]) {
    headers["Content-Type"] = "application/json";
    body = JSON.stringify(body);
  }
  const answer = await fetch(path, { method, headers, body, signal: more.signal, keepalive: more.keepalive });
  if (!answer.ok) throw new Problem(answer.status, await answer.json().catch(() => ({})));
  return answer;
}

export async function ask(method, path, body, more) {
  const answer = await request(method, path, body, more);
  return answer.status === 204 ? null : answer.json();
}

export const closePipe = (id, keepalive) => ask("DELETE", `/v1/pipes/${id}`, undefined, { keepalive }).catch(() => {});

export function openSocket(id) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}/v1/pipes/${id}/websocket`, ["p2pd", `p2pd.token.${token}`]);
  socket.binaryType = "arraybuffer";
  return socket;
}

/** Sends a body with its progress, which fetch does not tell. */
export function upload(path, body, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open("POST", path);
    sending.setRequestHeader("Authorization", `Bearer ${token}`);
    if (!(body instanceof FormData)) sending.setRequestHeader("Content-Type", "application/octet-stream");
    sending.upload.onprogress = (event) => onProgress(event.loaded);
    sending.onload = () => {
      if (sending.status < 300) return resolve(JSON.parse(sending.responseText));
      let about = {};
      try { about = JSON.parse(sending.responseText); } catch { /* the status says enough */ }
      reject(new Problem(sending.status, about));
    };
    sending.onerror = () => reject(new Error("the connection to the node broke"));
    sending.onabort = () => reject(new DOMException("", "AbortError"));
    signal.addEventListener("abort", () => sending.abort());
    sending.send(body);
  });
}

// -- server-sent events; EventSource can't send the token

function dispatch(text, state, onEvent) {
  let type = "message", data = "";
  for (const line of text.split("\n")) {
    if (line.startsWith("id: ")) state.last = line.slice(4);
    else if (line.startsWith("event: ")) type = line.slice(7);
    else if (line.startsWith("data: ")) data += line.slice(6);
  }
  if (data) onEvent(type, JSON.parse(data));
}

async function read(reader, state, onEvent, onBytes) {
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    onBytes();
    const parts = (rest + decoder.decode(value, { stream: true })).split("\n\n");
    rest = parts.pop();
    for (const part of parts) dispatch(part, state, onEvent);
  }
}

async function listen(state, onEvent, onThere) {
  const silence = new AbortController();
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), SILENCE_MS);
  };
  heard();
  try {
    const headers = state.last ? { "Last-Event-ID": state.last } : {};
    const answer = await request("GET", "/v1/events", undefined, { headers, signal: silence.signal });
    onThere();
    await read(answer.body.getReader(), state, onEvent, heard);
  } finally {
    clearTimeout(timer);
  }
}

/** Follows the events for ever; ends only when the token is wrong. */
export async function follow(onEvent, onState) {
  const state = { last: null };
  for (let tries = 0; ; tries++) {
    try {
      await listen(state, onEvent, () => {
        tries = 0;
        onState("there");
      });
    } catch (failure) {
      if (failure.status === 401) return onState("refused");
    }
    onState("lost");
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS[Math.min(tries, RETRY_MS.length - 1)]));
  }
}
