"use strict";
// Formatting, and all functions that change the document of this page. Text is inserted as text, never as HTML.

const byId = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// Give `parent` one child for each of `items`, in order. The nodes of known items are kept, and with them what a person
// has selected, focused or opened.
function keyed(parent, items, keyOf, create, update) {
  const known = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  let previous = null;
  for (const item of items) {
    const key = String(keyOf(item));
    let node = known.get(key);
    if (node === undefined) {
      node = create(item);
      node.dataset.key = key;
    }
    known.delete(key);
    update(node, item);
    const place = previous === null ? parent.firstElementChild : previous.nextElementSibling;
    if (place !== node) parent.insertBefore(node, place);
    previous = node;
  }
  for (const node of known.values()) node.remove();
}

function plural(count, one, many) {
  return `${count} ${count === 1 ? one : many}`;
}

function duration(seconds) {
  if (seconds < 0.00005) return "0 ms";
  if (seconds < 0.0995) return `${(seconds * 1000).toFixed(seconds < 0.00995 ? 1 : 0)} ms`;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  return age(seconds);
}

function age(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return `${whole} s`;
  if (whole < 2 * 3600) return `${Math.round(whole / 60)} min`;
  if (whole < 2 * 86400) return `${Math.round(whole / 3600)} h`;
  return `${Math.round(whole / 86400)} days`;
}

function bytes(count) {
  if (count < 1024) return `${count} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let value = count;
  let unit = -1;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}

// A wall clock time of a member, in the time zone of the reader, with its distance from the clock of the reader.
function moment(text) {
  const at = new Date(text);
  if (Number.isNaN(at.getTime())) return { near: "at an unknown time", full: text, short: text };
  const seconds = (Date.now() - at.getTime()) / 1000;
  const near = seconds < 5 ? "just now" : `${age(seconds)} ago`;
  const full = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const clock = at.toLocaleTimeString(undefined, { timeStyle: "medium" });
  const short = Math.abs(seconds) < 12 * 3600 ? clock : full;
  return { near, full, short };
}

function showMoment(node, text) {
  const { near, full, short } = moment(text);
  setText(node, `${near} · ${short}`);
  setAttribute(node, "datetime", text);
  setAttribute(node, "title", full);
}

// The address if it is a web address, else null: the page does not trust what a member says.
function webAddress(text) {
  try {
    const url = new URL(text);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}
