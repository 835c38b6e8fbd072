// The node's address, what its network lets through, and a drawing of the path to a peer.
import { ask, request } from "/page/api.js";
import { draw, find, make, say } from "/page/dom.js";

// By the type of NAT in a peer address: what it means for people.
const VERDICTS = {
  1: ["Anybody can connect to you directly.", "There is no router that changes addresses, and nothing keeps callers out."],
  2: ["You have a public address behind a firewall.", "Peers get in once your computer has called them."],
  3: ["Your router is easy to pass.", "It lets anybody in who knows the port that it gave you (full cone)."],
  4: ["Your router is easy to pass.", "It lets those computers in that you have called (address-restricted)."],
  5: ["Your router is like most: peers can be reached by punching.", "It lets in just whom you have called, by the very port (port-restricted)."],
  6: ["Your router is a hard one.", "It gives a new port for everybody you call (symmetric): with some peers only a relay helps."],
  7: ["Nothing comes through.", "Neither calls nor answers pass here by UDP: a relay over TCP may."],
};

const PORTS = {
  2: "It keeps port numbers.", 3: "It keeps the distances between ports.", 4: "It gives ports in sequence.",
  5: "It gives ports in sequence.", 6: "It gives ports at random.",
};

const WAYS = {
  direct: "You connected directly", reverse: "The peer connected back to you", punch: "Both connected at the same instant (punch)",
  relay: "Through a relay server",
};

let node = null, shown = null, wide = null;

const usable = (one) => one.routes.filter((route) => route.nat);

function bestRoute() {
  const routes = node.interfaces.flatMap((one) => usable(one).map((route) => ({ ...route, name: one.name })));
  return routes.sort((a, b) => a.nat.type - b.nat.type)[0];
}

const openPort = () => node.mappings.find((one) => one.verified);

function verdict() {
  const route = bestRoute(), mapping = openPort();
  if (mapping) {
    return ["Your router has opened a port for you: peers connect directly.", `Port ${mapping.port}, asked for by ${mapping.protocol}.`];
  }
  if (route) {
    const [words, more] = VERDICTS[route.nat.type] || ["Your router is of an unknown kind.", ""];
    return [words, `${more} ${route.nat.type > 2 && route.nat.type < 7 ? PORTS[route.nat.delta] || "" : ""}`.trim()];
  }
  if (!node.ready) return ["Your network is being looked at …", ""];
  if (node.interfaces.length === 0) return ["You have no network.", "The node goes on by itself when there is one."];
  return ["Nothing is known of your router.", "No server outside could be asked."];
}

// -- the drawing: where everything is, for a broad page and for a narrow one

const PLACES = {
  wide: {
    view: "0 0 720 190", curved: "0 0 720 240", alone: "0 10 720 170", you: [76, 150], router: [234, 150], servers: [360, 40], far: [486, 150], peer: [644, 150],
    beside: "M76 150 C180 265 540 265 644 150", size: [144, 58], letters: [17, 15], most: [14, 18],
  },
  narrow: {
    view: "0 0 320 320", curved: "0 0 320 320", alone: "0 130 320 190", you: [105, 292], router: [105, 217], servers: [245, 160], far: [105, 103], peer: [105, 28],
    beside: "M105 292 C-25 260 -25 60 105 28", size: [136, 50], letters: [14, 12], most: [16, 20],
  },
};

const shorten = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function box(place, name, title, detail, kind) {
  const [x, y] = place[name], [width, height] = place.size, [big, small] = place.letters;
  return draw("g", null,
    draw("rect", { class: `box ${kind || ""}`, x: x - width / 2, y: y - height / 2, width, height, rx: 8 }),
    draw("text", { x, y: y - 3, "font-size": big }, shorten(title, place.most[0])),
    draw("text", { x, y: y + small + 3, "font-size": small, class: "small" }, shorten(detail, place.most[1])));
}

function wire(place, names, used) {
  const points = names.map((name) => place[name].join(" "));
  return draw("path", { class: used ? "wire used" : "wire", d: `M${points.join(" L")}` });
}

const hostOf = (endpoint) => (endpoint || "").replace(/:\d+$/, "").replace(/^\[|\]$/g, "");

const isNear = (ip) => /^(127\.|10\.|192\.168\.|169\.254\.|172\.(1[6-9]|2\d|3[01])\.|::1$|f[cd]|fe80)/i.test(ip);

/** The records of a peer address: external, internal. */
function recordsOf(address) {
  return [...(address || "").matchAll(/\[(\d+),([^,\]]+),([^,\]]+),/g)].map(([, , external, internal]) => ({ external, internal }));
}

// Which of the boxes there are, and which the path goes through.
function findScene() {
  const route = bestRoute() || node.interfaces.flatMap((one) => one.routes.map((r) => ({ ...r, name: one.name })))[0];
  const path = shown && shown.session.path;
  const remote = path && hostOf(path.remote);
  const far = shown && recordsOf(shown.address).find((one) => one.external !== one.internal);
  const hasRouter = Boolean(route && route.external && route.external !== route.nic);
  const isBeside = Boolean(path && path.strategy !== "relay" && isNear(remote));
  const used = ["you", hasRouter && "router", path && path.strategy === "relay" && "servers", far && "far", "peer"].filter(Boolean);
  return { route, path, remote, far, hasRouter, isBeside, used };
}

function describe(scene) {
  if (!shown) return "You are connected to nobody: the node only talks with its servers.";
  if (!scene.path) return `The path to ${shown.name} broke; another one is being looked for.`;
  const way = WAYS[scene.path.strategy] || `By ${scene.path.strategy}`;
  const through = scene.isBeside ? "within the local network" : scene.path.strategy === "relay" ? "" : "through the internet";
  return `The path to ${shown.name}: ${way.charAt(0).toLowerCase() + way.slice(1)} ${through}`.trim() + ` (${scene.path.local || "?"} to ${scene.path.remote || "?"}).`;
}

function servers() {
  const up = node.brokers.filter((one) => one.state === "online").length;
  return `${up} of ${node.brokers.length} connected`;
}

function redraw() {
  if (!node) return;
  const place = wide.matches ? PLACES.wide : PLACES.narrow, scene = findScene(), words = describe(scene);
  const picture = draw("svg", { viewBox: !shown ? place.alone : scene.isBeside ? place.curved : place.view, class: wide.matches ? "wide" : "", role: "img", "aria-label": words });
  picture.append(wire(place, scene.hasRouter ? ["you", "router", "servers"] : ["you", "servers"], false));
  if (shown) picture.append(wire(place, scene.far ? ["servers", "far", "peer"] : ["servers", "peer"], false));
  if (scene.path) {
    picture.append(scene.isBeside ? draw("path", { class: "wire used", d: place.beside }) : wire(place, scene.used, true));
  }
  picture.append(box(place, "you", "You", scene.route ? scene.route.nic : "no network", "you"));
  if (scene.hasRouter) picture.append(box(place, "router", "Your router", scene.route.external));
  picture.append(box(place, "servers", "Servers", servers()));
  if (scene.far) picture.append(box(place, "far", "Their router", scene.far.external));
  if (shown) picture.append(box(place, "peer", shown.name, scene.path ? (scene.far ? scene.far.internal : scene.remote) : "no path", scene.path ? "" : "absent"));
  find("drawing").replaceChildren(picture);
  say(find("drawing-words"), words);
}

// -- what there is, in tables

function table(caption, heads, rows) {
  return make("table", null, make("caption", null, caption),
    make("thead", null, make("tr", null, ...heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", null, ...rows.map((row) => make("tr", null, ...row.map((cell) => make("td", null, cell))))));
}

function details() {
  const routes = node.interfaces.flatMap((one) => one.routes.map((route) =>
    [one.name, route.nic, route.external || "not known"]));
  const brokers = node.brokers.map((one) => [one.name, one.reason ? `${one.state}: ${one.reason}` : one.state]);
  const ports = node.mappings.map((one) => [one.interface, one.state, one.port ? String(one.port) : ""]);
  return [
    table("Interfaces", ["Name", "Address", "From outside"], routes),
    table("Servers that pass on calls", ["Server", "State"], brokers),
    ...(ports.length ? [table("Ports on the router", ["Interface", "State", "Port"], ports)] : []),
    make("p", { class: "hint" }, `Clock: ${node.clock.source}, ${((node.clock.offset || 0) * 1000).toFixed(1)} ms off.`),
  ];
}

let detailed = "";

async function showQr(address) {
  const image = find("qr");
  try {
    const svg = await (await request("GET", "/v1/address/qr")).text();
    image.src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
    image.hidden = false;
    image.dataset.address = address;
  } catch {
    image.hidden = true; // the library is not installed: the text is there
  }
}

export async function refresh() {
  node = await ask("GET", "/v1/node");
  say(find("node-name"), node.name || node.id.slice(0, 8));
  say(find("address"), node.address);
  if (find("qr").dataset.address !== node.address) showQr(node.address);
  const [words, more] = verdict();
  say(find("verdict"), words);
  say(find("verdict-more"), more);
  const text = JSON.stringify([node.interfaces, node.brokers, node.mappings, node.clock.source]);
  if (text !== detailed) find("network-details").replaceChildren(...details());
  detailed = text;
  redraw();
  return node;
}

let drawn = "";

/** Shows the path of a session in the drawing: session, address (may be missing), name. */
export function showPath(about) {
  const text = JSON.stringify(about && [about.session.path && [about.session.path.strategy, about.session.path.local, about.session.path.remote], about.address, about.name]);
  shown = about;
  if (text !== drawn) redraw();
  drawn = text;
}

export const ownAddress = () => (node ? node.address : "");
export const ownId = () => (node ? node.id : "");
export const ownName = () => (node && (node.name || node.id.slice(0, 8))) || "somebody";

export function start() {
  wide = matchMedia("(min-width: 480px) and (max-width: 759px), (min-width: 1120px) and (max-width: 1199px)");
  wide.addEventListener("change", redraw);
  find("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(ownAddress());
      say(find("copied"), "Copied.");
    } catch {
      getSelection().selectAllChildren(find("address"));
      say(find("copied"), "Press Ctrl+C to copy.");
    }
    setTimeout(() => say(find("copied"), ""), 4000);
  });
}
