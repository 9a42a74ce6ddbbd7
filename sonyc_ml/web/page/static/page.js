// Makes the page live. Everything is there without it: this only loads again what has changed, and draws levels.
"use strict";

const AGAIN_MS = 2000, ANYWAY_MS = 30000, STAMP_MS = 3000, SOON_MS = 2000, N_HEARD = 8;

// Commands can be copied.
function addCopyButtons(within) {
  for (const code of within.querySelectorAll("code[data-copy]")) {
    if (!navigator.clipboard || code.nextElementSibling?.classList.contains("copy")) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy ${code.textContent}`);
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
    code.after(button);
  }
}

// Sections with data-live are fetched again, and replaced where they differ and nobody is in them.
let isWanted = false, isAtIt = false, lastMs = 0;

async function loadAgain() {
  isWanted = true;
  if (isAtIt || document.hidden) return;
  isAtIt = true;
  await new Promise((done) => setTimeout(done, Math.max(0, lastMs + AGAIN_MS - Date.now())));
  isWanted = false;
  lastMs = Date.now();
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.ok) replaceSections(new DOMParser().parseFromString(await answer.text(), "text/html"));
    tellState(answer.ok);
  } catch {
    tellState(false);
  }
  isAtIt = false;
  if (isWanted) loadAgain();
  else lookSoon();
}

// Where a page says that something is under way, it is looked at again soon.
function lookSoon() {
  if (document.querySelector("[data-soon]")) setTimeout(loadAgain, SOON_MS);
}

function replaceSections(fresh) {
  for (const old of document.querySelectorAll("[data-live]")) {
    const section = fresh.getElementById(old.id);
    const isInUse = old.contains(document.activeElement) || old.querySelector("details[open]");
    if (!section || isInUse || section.innerHTML === old.dataset.html) continue;
    old.dataset.html = section.innerHTML;
    old.replaceChildren(...section.childNodes);
    addCopyButtons(old);
  }
}

function tellState(isLive) {
  const loaded = document.getElementById("loaded");
  if (!loaded) return;
  const zone = { timeZone: document.documentElement.dataset.zone, timeZoneName: "short" };
  loaded.textContent = isLive ? `Live; as of ${new Date().toLocaleString("sv-SE", zone)}.`
    : "The node does not answer. What you see may be old.";
}

// News come as events (Server-Sent Events, docs/events.md); where there are none, the journal's stamp is asked for.
const CHANGES = ["found", "begun", "published", "postponed", "quarantined", "shed", "retried", "moved", "deleted", "gone",
  "overwritten", "gap", "started", "stopped", "bundle", "journal", "missed"];

function listen() {
  const source = new EventSource("events");
  let wasLost = false;
  for (const name of CHANGES) source.addEventListener(name, loadAgain);
  if (document.getElementById("live")) {
    source.addEventListener("level", (event) => showLevel(JSON.parse(event.data)));
    source.addEventListener("detection", (event) => showDetection(JSON.parse(event.data)));
  }
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) askForStamp("");
    else tellState(false); // the browser goes on trying
    wasLost = true;
  };
  source.onopen = () => {
    if (wasLost) loadAgain();
    wasLost = false;
  };
}

// What came while somebody looks: how loud the last recording was, and what was heard in it.
const SCALES = { dBFS: [-90, 0], "dB re 20 µPa": [20, 110] };

function showLevel(event) {
  const laeq = event.levels?.LAeq;
  if (typeof laeq !== "number") return;
  const [low, high] = SCALES[event.reference] ?? SCALES.dBFS;
  const share = Math.min(1, Math.max(0, (laeq - low) / (high - low)));
  document.querySelector("#levels rect").setAttribute("width", 100 * share);
  const lafmax = event.levels.LAFmax;
  const most = typeof lafmax === "number" ? `, LAFmax ${lafmax.toFixed(1)}` : "";
  document.querySelector("#levels output").textContent = `LAeq ${laeq.toFixed(1)} ${event.reference}${most}`;
  document.getElementById("levels").hidden = false;
  document.getElementById("live").hidden = false;
}

function showDetection(event) {
  const item = document.createElement("li");
  item.className = "chip";
  item.textContent = `${event.label} ${Number(event.score).toFixed(2)}`;
  const list = document.getElementById("heard");
  list.prepend(item);
  while (list.children.length > N_HEARD) list.lastChild.remove();
  document.getElementById("live").hidden = false;
}

async function askForStamp(known) {
  let stamp = known;
  try {
    if (!document.hidden) stamp = await (await fetch("stamp")).text();
  } catch {
    tellState(false);
  }
  if (known && stamp !== known) loadAgain();
  setTimeout(askForStamp, STAMP_MS, stamp);
}

addCopyButtons(document);
if (document.querySelector("[data-live]")) {
  listen();
  lookSoon();
  setInterval(loadAgain, ANYWAY_MS);
  document.addEventListener("visibilitychange", loadAgain);
}
