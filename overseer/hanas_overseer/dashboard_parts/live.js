// The connection to the overseer, the sentence at the top, and the clock of the page.

const SILENT_SECONDS = 6; // a document comes every two seconds
const DEAD_SECONDS = 25; // a stream that is silent for this long is opened again
const RETRY_MILLISECONDS = [500, 1000, 2000, 5000];

let cluster = null;
let receivedAt = 0;
let openedAt = 0;
let source = null;
let retries = 0;
let retryTimer = null;

const now = () => performance.now() / 1000;

function connect() {
  clearTimeout(retryTimer);
  source?.close();
  openedAt = now();
  source = new EventSource("v1/events");
  source.addEventListener("open", () => {
    retries = 0;
    showSession();
  });
  source.addEventListener("error", () => { if (source.readyState === EventSource.CLOSED) refused(); });
  source.addEventListener("cluster", (event) => {
    cluster = JSON.parse(event.data);
    receivedAt = now();
    show();
  });
  source.addEventListener("takeover", (event) => {
    const entry = JSON.parse(event.data);
    announce(`Epoch ${entry.epoch}: ${entry.member} is the main. ${entry.words}`);
  });
  source.addEventListener("alert", (event) => {
    const alert = JSON.parse(event.data);
    announce(`${alert.severity} alert: ${alert.message}`);
  });
  source.addEventListener("alert-cleared", (event) => announce(`Cleared: ${JSON.parse(event.data).message}`));
}

// The browser does not reconnect after an answer that is no event stream: find out why it was none.
async function refused() {
  let status = 0;
  try {
    status = (await fetch("v1/main", { cache: "no-store" })).status;
  } catch {
    // not reachable: the timer below tries again
  }
  if (status === 401) {
    askToken("");
    return;
  }
  retryTimer = setTimeout(connect, RETRY_MILLISECONDS[Math.min(retries, RETRY_MILLISECONDS.length - 1)]);
  retries += 1;
}

function askToken(trouble) {
  if (byId("token-dialog").open && trouble === "") return; // what is said about the last try stays
  byId("sign-out").hidden = true;
  byId("token-wrong").hidden = trouble === "";
  setText(byId("token-wrong"), trouble);
  if (!byId("token-dialog").open) byId("token-dialog").showModal();
}

// The cookie that this sets is none of this page's business: scripts cannot read it.
async function signIn(token) {
  try {
    const body = JSON.stringify({ token });
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch("v1/session", { method: "POST", headers, body, cache: "no-store" });
    if (answer.ok) return "";
    return answer.status === 401 ? "This token was not accepted." : (await answer.json()).detail;
  } catch {
    return "The overseer does not answer. Try again.";
  }
}

async function showSession() {
  try {
    const answer = await fetch("v1/session", { cache: "no-store" });
    const session = answer.ok ? await answer.json() : { signedIn: false };
    byId("sign-out").hidden = !session.signedIn;
    byId("sign-out").title = session.signedIn ? `Signed in as ${session.name}` : "";
  } catch {
    // not reachable: the next connection asks again
  }
}

byId("sign-out").addEventListener("click", async () => {
  await fetch("v1/session", { method: "DELETE" });
  location.reload();
});

byId("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = byId("token").value;
  byId("token").value = "";
  const trouble = await signIn(token);
  if (trouble) {
    askToken(trouble);
    return;
  }
  byId("token-dialog").close();
  connect();
});
byId("token-dialog").addEventListener("cancel", (event) => event.preventDefault());

function announce(text) {
  byId("announcer").append(element("p", {}, text));
  while (byId("announcer").children.length > 5) byId("announcer").firstChild.remove();
}

function readable(document) {
  return !document.alerts.some((alert) => alert.member === "overseer" && alert.kind === "FolderUnavailable");
}

// The state of the cluster in one sentence, and its tone.
function sentence(document) {
  const { main, epoch, members, alerts } = document;
  const holder = members.find((member) => main !== null && member.member === main.member);
  if (!readable(document)) return ["bad", "The overseer cannot read the folder", "This page shows the last state that it read."];
  if (main === null) return ["wait", "No main yet", "The first worker that starts becomes the main."];
  if (members.length && members.every((member) => member.alive === false)) {
    if (counts(members).wanted === 0) return ["wait", "All workers were stopped", "Start any of them to serve again."];
    return ["bad", "No worker is alive", "No request is served. Start any worker; no acknowledged write is lost."];
  }
  const silent = holder !== undefined && !holder.alive && holder.seenSecondsAgo !== null;
  if (silent) {
    return ["bad", `The main ${main.member} is silent`, "If it failed, a backup takes over as soon as it has proof."];
  }
  if (main.state === "elect") {
    return ["warn", `${main.member} is taking over`, `Epoch ${epoch} is claimed, but not served yet. Writes wait.`];
  }
  if (main.state === "handed-over") {
    return ["warn", `${main.member} has handed over`, "A backup takes over now. Writes wait."];
  }
  const headline = `${main.member} is serving`;
  if (alerts.some((alert) => alert.severity === "critical")) return ["bad", headline, "A critical alert is open: act now."];
  if (alerts.some((alert) => alert.severity === "urgent")) return ["warn", headline, "Clients are served. An urgent alert is open: act soon."];
  if (alerts.length) return ["good", headline, "Clients are served. No open alert is urgent."];
  return ["good", headline, "Clients are served. No alert is open."];
}

function showState(document) {
  const [tone, headline, subline] = sentence(document);
  const late = now() - receivedAt > SILENT_SECONDS;
  setAttribute(byId("state"), "data-tone", late ? "wait" : tone);
  setText(byId("headline"), late ? `Last known: ${headline}` : headline);
  setText(byId("subline"), subline);
  const { alive, wanted } = counts(document.members);
  setText(byId("fact-epoch"), document.epoch ? String(document.epoch) : "–");
  setText(byId("fact-alive"), `${alive} of ${wanted}`);
  setText(byId("fact-alerts"), document.alerts.length ? String(document.alerts.length) : "none");
  const last = document.takeovers.filter((entry) => entry.why !== "first").at(-1);
  setText(byId("fact-takeover"), last === undefined ? "never" : moment(last.claimedAt).near);
  setText(byId("folder"), document.folderId.slice(0, 8));
  setAttribute(byId("folder"), "title", document.folderId);
  const open = document.alerts.filter((alert) => alert.severity !== "notice").length;
  window.document.title = `${open ? `(${open}) ` : ""}${document.main?.member ?? "HANas"} · epoch ${document.epoch} · HANas`;
}

function showConnection() {
  const silence = now() - (cluster === null ? openedAt : receivedAt);
  const late = cluster !== null && silence > SILENT_SECONDS;
  const state = cluster === null ? "wait" : late ? "lost" : "live";
  setAttribute(byId("connection"), "data-state", state);
  setText(byId("connection-text"), { wait: "connecting", lost: "reconnecting", live: "live" }[state]);
  const banner = byId("lost");
  banner.hidden = state === "live" || (cluster === null && silence < SILENT_SECONDS);
  if (!banner.hidden) {
    const known = cluster === null ? "" : ` This state is ${age(silence)} old.`;
    setText(banner, `The overseer does not answer; reconnecting.${known} Workers continue without it.`);
  }
  byId("content").classList.toggle("old", late);
  if (silence > DEAD_SECONDS && now() - openedAt > DEAD_SECONDS && !byId("token-dialog").open) connect();
}

// The document with its ages at this moment: they grow between two documents.
function aged(document, seconds) {
  const members = document.members.map((member) =>
    member.seenSecondsAgo === null ? member : { ...member, seenSecondsAgo: member.seenSecondsAgo + seconds });
  const links = document.links.map((link) => ({ ...link, sinceSeconds: link.sinceSeconds + seconds }));
  return { ...document, members, links };
}

function show() {
  showConnection();
  if (cluster === null) return;
  const present = aged(cluster, now() - receivedAt);
  showState(present);
  showAlerts(present.alerts);
  showTopology(present, readable(present));
  showLinks(present);
  showMembers(present.members);
  showEpochs(present.takeovers);
}

byId("history-more").addEventListener("click", () => {
  shownEpochs = Infinity;
  show();
});
new ResizeObserver(show).observe(byId("diagram"));
setInterval(show, 1000);
connect();
