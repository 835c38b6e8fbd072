// Elements, and lists of them that keep what has the focus.

const SVG = "http://www.w3.org/2000/svg";

export const find = (id) => document.getElementById(id);

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false && value !== null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

/** Makes an element: attributes, listeners ("onclick"), children. Texts are never markup. */
export const make = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);

/** The same in SVG. */
export const draw = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

/** Sets a text where it is another one: screen readers read what is set. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Has one child for each item, in order; those that stay are kept. */
export function list(parent, items, keyOf, create, update) {
  const known = parent.known || (parent.known = new Map());
  const gone = new Set(known.keys());
  let before = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    gone.delete(key);
    let child = known.get(key);
    if (!child) known.set(key, (child = create(item)));
    if (child === before) before = before.nextElementSibling;
    else parent.insertBefore(child, before);
    update(child, item);
  }
  for (const key of gone) {
    known.get(key).remove();
    known.delete(key);
  }
}

export function bytes(count) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let at = 0;
  while (count >= 1000 && at < units.length - 1) {
    count /= 1000;
    at++;
  }
  return `${at && count < 100 ? count.toFixed(1) : Math.round(count)} ${units[at]}`;
}

export function milliseconds(seconds) {
  const value = seconds * 1000;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}

export function duration(seconds) {
  if (seconds < 1) return milliseconds(seconds);
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

export function clock() {
  const now = new Date();
  return make("time", { datetime: now.toISOString() }, now.toTimeString().slice(0, 8));
}
