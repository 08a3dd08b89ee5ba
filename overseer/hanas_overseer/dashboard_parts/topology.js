// The diagram: the folder in the middle, the workers around it, and the links between them.

const SVG = "http://www.w3.org/2000/svg";
const NARROW_PIXELS = 560;

function shape(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function shorten(text, pixels, perCharacter) {
  const most = Math.max(4, Math.floor(pixels / perCharacter));
  return text.length <= most ? text : `${text.slice(0, Math.ceil(most / 2) - 1)}…${text.slice(-(Math.floor(most / 2)))}`;
}

function linkState(link) {
  return ["up", "failed"].includes(link.state) ? link.state : "unknown";
}

// The places of all parts, in pixels of the available space.
function arrange(members, width) {
  const narrow = width < NARROW_PIXELS;
  const small = members.length > (narrow ? 5 : 8);
  const card = small ? { width: 12, height: 12 } : { width: narrow ? 112 : 150, height: narrow ? 48 : 54 };
  const full = narrow ? Math.min(width * 1.1, 400) + (small ? 60 : 0) : small ? 460 : 372;
  const height = members.length < 3 ? 240 : full;
  const centre = { x: width / 2, y: height / 2 };
  const marginX = small ? (narrow ? 56 : 90) : card.width / 2 + 6;
  const marginY = small ? 36 : card.height / 2 + 8;
  const radius = { x: Math.min(width / 2 - marginX, 330), y: height / 2 - marginY };
  const first = members.length === 2 ? Math.PI : -Math.PI / 2;
  const places = new Map();
  members.forEach((member, index) => {
    const angle = first + (2 * Math.PI * index) / members.length;
    places.set(member.member, { x: centre.x + radius.x * Math.cos(angle), y: centre.y + radius.y * Math.sin(angle) });
  });
  const lowest = Math.max(centre.y + (members.length < 3 ? 84 : 46), ...[...places.values()].map((place) => place.y + marginY));
  return { width, height: Math.ceil(lowest), narrow, small, card, centre, places };
}

// The point where a line from the middle of a card towards `target` crosses its edge.
function edge(place, target, card, gap) {
  const dx = target.x - place.x;
  const dy = target.y - place.y;
  const scale = Math.min(
    dx === 0 ? Infinity : (card.width / 2 + gap) / Math.abs(dx),
    dy === 0 ? Infinity : (card.height / 2 + gap) / Math.abs(dy),
  );
  return { x: place.x + dx * Math.min(scale, 1), y: place.y + dy * Math.min(scale, 1) };
}

// Each direction bends to its right, which separates the two directions of a pair; all bend around the folder.
function curve(from, to, space) {
  const dx = to.x - from.x;
  const dy = to.y - from.y;
  const length = Math.hypot(dx, dy) || 1;
  const normal = { x: -dy / length, y: dx / length };
  const middle = { x: (from.x + to.x) / 2, y: (from.y + to.y) / 2 };
  const clear = (middle.x - space.centre.x) * normal.x + (middle.y - space.centre.y) * normal.y;
  const free = space.narrow ? 50 : 66;
  const bend = Math.abs(clear) < 24 ? 2 * (free - clear) : 28;
  const control = { x: middle.x + normal.x * bend, y: middle.y + normal.y * bend };
  const start = edge(from, control, space.card, 3);
  const end = edge(to, control, space.card, 9);
  const at = { x: (start.x + 2 * control.x + end.x) / 4, y: (start.y + 2 * control.y + end.y) / 4 };
  return { path: `M${start.x} ${start.y}Q${control.x} ${control.y} ${end.x} ${end.y}`, at };
}

function drawLink(link, space) {
  const from = space.places.get(link.from);
  const to = space.places.get(link.to);
  if (from === undefined || to === undefined || from === to) return null;
  const state = linkState(link);
  const { path, at } = curve(from, to, space);
  const group = shape("g", {}, shape("title", {}, linkWords(link)));
  group.append(shape("path", { class: `link ${state}`, d: path, "marker-end": `url(#arrow-${state})` }));
  if (state === "failed") {
    group.append(shape("circle", { class: "break", cx: at.x, cy: at.y, r: 9 }));
    const cross = `M${at.x - 3.5} ${at.y - 3.5}l7 7m0 -7l-7 7`;
    group.append(shape("path", { class: "break-cross", d: cross }));
  }
  return group;
}

function memberTone(member) {
  if (member.alive === false) return "gone";
  return ["main", "elect"].includes(member.role) ? member.role : "backup";
}

function memberWords(member) {
  if (member.role === "left") return "stopped";
  if (member.seenSecondsAgo === null) return member.role === "joining" ? "joining" : `${member.role}, not seen yet`;
  return member.alive !== false ? member.role : `silent ${age(member.seenSecondsAgo)}`;
}

function drawMember(member, space) {
  const { x, y } = space.places.get(member.member);
  const { width, height } = space.card;
  const group = shape("g", { class: `node ${memberTone(member)}` });
  group.append(shape("title", {}, `${member.member}: ${memberWords(member)}`));
  if (space.small) {
    group.append(shape("circle", { class: "body", cx: x, cy: y, r: member.role === "main" ? 10 : 7 }));
    group.append(shape("text", { class: "name", x, y: y < space.centre.y ? y - 16 : y + 25 }, shorten(member.member, 96, 7.6)));
    return group;
  }
  group.append(shape("rect", { class: "body", x: x - width / 2, y: y - height / 2, width, height, rx: 10 }));
  group.append(shape("text", { class: "name", x, y: y - 3 }, shorten(member.member, width - 14, 8.6)));
  group.append(shape("text", { class: "role", x, y: y + 15 }, memberWords(member)));
  return group;
}

function drawFolder(space, readable) {
  const { x, y } = space.centre;
  const group = shape("g", { class: readable ? "store" : "store unreadable" });
  group.append(shape("title", {}, readable ? "the communication folder" : "the communication folder: cannot be read"));
  group.append(shape("path", { class: "body", d: `M${x - 24} ${y - 18}v26c0 12 48 12 48 0v-26` }));
  group.append(shape("ellipse", { class: "body", cx: x, cy: y - 18, rx: 24, ry: 9 }));
  group.append(shape("text", { class: "role", x, y: y + 34 }, readable ? "folder" : "folder unreadable"));
  return group;
}

function arrows() {
  const definitions = shape("defs", {});
  for (const state of ["up", "failed", "unknown"]) {
    const size = { viewBox: "0 0 8 8", refX: 5, refY: 4, markerWidth: 12, markerHeight: 12, orient: "auto" };
    const marker = shape("marker", { id: `arrow-${state}`, class: `arrow ${state}`, markerUnits: "userSpaceOnUse", ...size });
    marker.append(shape("path", { d: "M0 0L8 4L0 8z" }));
    definitions.append(marker);
  }
  return definitions;
}

function summary(cluster) {
  const { alive, wanted } = counts(cluster.members);
  const failed = cluster.links.filter((link) => link.state === "failed").length;
  const main = cluster.main === null ? "no main" : `main ${cluster.main.member}`;
  return `${main}; ${alive} of ${plural(wanted, "worker", "workers")} alive; ${plural(failed, "link", "links")} failed`;
}

// A member that was stopped in order is not missed.
function counts(members) {
  return {
    alive: members.filter((member) => member.alive !== false).length,
    wanted: members.filter((member) => member.role !== "left").length,
  };
}

let drawn = "";

function showTopology(cluster, readable) {
  const box = byId("diagram");
  const width = Math.max(260, Math.floor(box.clientWidth));
  const visible = [
    width,
    readable,
    cluster.members.map((member) => [member.member, memberTone(member), memberWords(member)]),
    cluster.links.map((link) => [link.from, link.to, linkState(link)]),
  ];
  const wanted = JSON.stringify(visible);
  if (wanted === drawn) return;
  drawn = wanted;
  const space = arrange(cluster.members, width);
  const size = { width, height: space.height, viewBox: `0 0 ${width} ${space.height}` };
  const svg = shape("svg", { ...size, role: "img", "aria-label": summary(cluster) }, arrows());
  for (const place of space.places.values()) {
    const end = edge(place, space.centre, space.card, 0);
    const start = edge(space.centre, place, { width: 60, height: 62 }, 0);
    svg.append(shape("line", { class: "mount", x1: start.x, y1: start.y, x2: end.x, y2: end.y }));
  }
  svg.append(...cluster.links.map((link) => drawLink(link, space)).filter((node) => node !== null));
  svg.append(drawFolder(space, readable));
  svg.append(...cluster.members.map((member) => drawMember(member, space)));
  box.replaceChildren(svg);
}

function linkWords(link) {
  const since = link.sinceSeconds >= 1 ? ` for ${age(link.sinceSeconds)}` : "";
  return `${link.from} → ${link.to}: ${{ up: "up", failed: "failed", unknown: "unknown" }[linkState(link)]}${since}`;
}

function showLinks(cluster) {
  const create = () => element("li");
  const update = (node, link) => {
    setText(node, linkWords(link));
    setAttribute(node, "data-state", linkState(link));
  };
  const key = (link) => `${link.from} ${link.to}`;
  const failed = cluster.links.filter((link) => link.state === "failed");
  keyed(byId("failed-links"), failed, key, create, update);
  keyed(byId("all-links"), cluster.links, key, create, update);
  setText(byId("links-summary"), `All links (${cluster.links.length})`);
  byId("links-summary").parentElement.hidden = cluster.links.length === 0;
}
