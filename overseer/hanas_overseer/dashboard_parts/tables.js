// The alerts, the members and the epochs.

const SEVERITIES = ["critical", "urgent", "notice"];

function createAlert() {
  const item = element("li");
  const head = element("p", { class: "alert-head" });
  head.append(element("span", { class: "severity" }), element("span", { class: "kind" }), element("time"));
  const message = element("p", { class: "message" });
  const advice = element("p", { class: "advice" });
  const source = element("p", { class: "source" });
  item.append(head, message, advice, source);
  return item;
}

function updateAlert(item, alert) {
  setAttribute(item, "data-severity", SEVERITIES.includes(alert.severity) ? alert.severity : "notice");
  setText(item.querySelector(".severity"), alert.severity);
  setText(item.querySelector(".kind"), alert.kind === "Unknown" ? "" : alert.kind);
  showMoment(item.querySelector("time"), alert.since);
  setText(item.querySelector(".message"), alert.message);
  setText(item.querySelector(".advice"), alert.advice);
  const about = alert.about && alert.about !== alert.member ? `About ${alert.about}, ` : "";
  setText(item.querySelector(".source"), `${about}${about ? "seen" : "Seen"} by ${alert.member === "overseer" ? "the overseer" : alert.member}.`);
}

function showAlerts(alerts) {
  keyed(byId("alert-list"), alerts, (alert) => alert.id, createAlert, updateAlert);
  byId("alerts-empty").hidden = alerts.length > 0;
  setText(byId("alerts-count"), alerts.length ? String(alerts.length) : "");
}

const COLUMNS = ["Member", "Role", "Last seen", "Epoch", "Verdict", "Lag", "Keys", "Address"];
const NUMBERS = new Set(["Epoch", "Lag", "Keys"]);

function createMember() {
  const row = element("tr", { role: "row" });
  for (const column of COLUMNS) {
    const name = column === "Member" ? "th" : "td";
    const attributes = { "data-label": column, role: name === "th" ? "rowheader" : "cell" };
    if (name === "th") attributes.scope = "row";
    if (NUMBERS.has(column)) attributes.class = "number";
    row.append(element(name, attributes));
  }
  row.cells[1].append(element("span", { class: "badge" }));
  row.cells[4].append(element("span", { class: "verdict" }));
  row.cells[7].append(element("a", { rel: "noreferrer" }));
  return row;
}

function updateMember(row, member) {
  const [name, role, seen, epoch, verdict, lag, keys, address] = row.cells;
  setAttribute(row, "data-tone", memberTone(member));
  setText(name, member.member);
  setText(role.firstChild, member.alive !== false || ["joining", "left"].includes(member.role) ? member.role : `${member.role}, dead`);
  setText(seen, seenWords(member));
  setText(epoch, member.epoch ? String(member.epoch) : "–");
  setText(verdict.firstChild, member.verdict === "Unknown" ? "–" : member.verdict);
  setAttribute(verdict.firstChild, "data-verdict", member.verdict);
  setText(lag, member.alive !== false ? bytes(member.lagBytes) : "–");
  setText(keys, member.alive !== false ? member.keys.toLocaleString() : "–");
  const link = address.firstChild;
  const url = webAddress(member.advertiseUrl);
  setText(link, member.advertiseUrl.replace(/^http:\/\//, ""));
  if (url === null) link.removeAttribute("href");
  else setAttribute(link, "href", `${url.replace(/\/$/, "")}/v1/status`);
}

function seenWords(member) {
  if (member.seenSecondsAgo === null) return "not yet";
  if (member.role === "left") return "stopped";
  return member.alive !== false ? "now" : `${age(member.seenSecondsAgo)} ago`;
}

function showMembers(members) {
  byId("members").hidden = members.length === 0;
  byId("members-empty").hidden = members.length > 0;
  setText(byId("members-count"), members.length ? String(members.length) : "");
  keyed(byId("member-rows"), members, (member) => member.slot, createMember, updateMember);
}

const STEPS = [["claim", "claim"], ["seals", "seals"], ["replay", "replay"], ["relog", "write again"]];
const AT_FIRST = 8;
let shownEpochs = AT_FIRST;

function createEpoch() {
  const item = element("li");
  const head = element("p", { class: "epoch-head" });
  const who = element("strong", { class: "who" });
  head.append(element("span", { class: "epoch" }), who, element("span", { class: "why" }), element("time"));
  const details = element("details", { class: "more" }, element("summary", {}, "Evidence"), element("dl"));
  item.append(head, element("p", { class: "words" }), element("p", { class: "steps" }), details);
  return item;
}

function updateEpoch(item, entry) {
  const why = ["first", "failure", "hand-over"].includes(entry.why) ? entry.why : "other";
  setAttribute(item, "data-why", why);
  setText(item.querySelector(".epoch"), String(entry.epoch));
  setText(item.querySelector(".who"), entry.member);
  setText(item.querySelector(".why"), whyWords(entry));
  showMoment(item.querySelector("time"), entry.claimedAt);
  setText(item.querySelector(".words"), entry.words);
  setText(item.querySelector(".steps"), stepWords(entry));
  showEvidence(item.querySelector("details"), entry);
}

function whyWords(entry) {
  const names = { first: "first main", failure: "takeover", "hand-over": "hand-over", compaction: "compaction" };
  const after = entry.previousMain && entry.previousMain !== entry.member ? ` from ${entry.previousMain}` : "";
  const verdict = entry.verdict && entry.verdict !== "HandedOver" ? `: ${entry.verdict}` : "";
  return `${names[entry.why] ?? entry.why}${after}${verdict}`;
}

function stepWords(entry) {
  if (entry.seconds === null) return entry.served ? "" : newest === entry.epoch ? "not served yet" : "never served";
  if (entry.durations) {
    const { detection, claim, replay, total } = entry.durations;
    return `detection ${duration(detection)}  ·  claim ${duration(claim)}  ·  replay ${duration(replay)}  ·  total ${duration(total)}`;
  }
  const known = STEPS.filter(([name]) => typeof entry.seconds[name] === "number");
  if (known.length === 0) return "";
  const total = known.reduce((sum, [name]) => sum + entry.seconds[name], 0);
  return `${known.map(([name, words]) => `${words} ${duration(entry.seconds[name])}`).join("  ·  ")}  ·  total ${duration(total)}`;
}

function showEvidence(details, entry) {
  const facts = entry.evidence !== null && typeof entry.evidence === "object" ? Object.entries(entry.evidence) : [];
  const shown = facts.filter(([name, value]) => name !== "words" && value !== null);
  details.hidden = shown.length === 0;
  const create = () => element("div", {}, element("dt"), element("dd"));
  const update = (row, [name, value]) => {
    setText(row.firstChild, name.replace(/([A-Z])/g, " $1").toLowerCase());
    setText(row.lastChild, typeof value === "string" ? value : formatted(value));
  };
  keyed(details.querySelector("dl"), shown, ([name]) => name, create, update);
}

function formatted(value) {
  return typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : JSON.stringify(value);
}

let newest = 0;

function showEpochs(takeovers) {
  newest = takeovers.length ? takeovers[takeovers.length - 1].epoch : 0;
  byId("history-empty").hidden = takeovers.length > 0;
  setText(byId("history-count"), newest ? String(newest) : "");
  const list = takeovers.slice(-shownEpochs).reverse();
  keyed(byId("timeline"), list, (entry) => entry.epoch, createEpoch, updateEpoch);
  byId("history-more").hidden = list.length === takeovers.length;
}
