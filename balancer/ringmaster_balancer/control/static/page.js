// Asks for the counts once a second, and for the pictures when they would look different.
"use strict";

const SECOND = 1000;
const PARTS = ["ring", "shares", "change"];
const $ = (id) => document.getElementById(id);
let shown = document.body.dataset.version;
const SPAN = 5; // looks that a rate is of: one second of few requests says little
const looks = []; // requests by replica, and when; the oldest first

async function text(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.text();
}

async function look() {
  const live = JSON.parse(await text("page.json"));
  counts(live, performance.now());
  $("summary").textContent = live.summary;
  $("workers").textContent = `${live.workers[0]} of ${live.workers[1]}`;
  if (live.version !== shown) {
    await Promise.all(PARTS.map(redraw));
    shown = live.version;
  }
}

async function redraw(part) {
  const drawn = await text(`picture/${part}.svg`);
  const place = $(part);
  place.hidden = !drawn;
  if (!drawn) return place.replaceChildren();
  const root = new DOMParser().parseFromString(drawn, "image/svg+xml").documentElement;
  place.replaceChildren(document.importNode(root, true));
}

function counts(live, now) {
  const before = looks[0];
  const seconds = before ? (now - before.at) / SECOND : 0;
  const rates = live.members.map((member) => {
    const earlier = before && before.requests.get(member.replica);
    return earlier === undefined || !seconds ? 0 : Math.max(0, member.requests - earlier) / seconds;
  });
  looks.push({ at: now, requests: new Map(live.members.map((m) => [m.replica, m.requests])) });
  if (looks.length > SPAN) looks.shift();
  $("rate").textContent = said(rates.reduce((sum, rate) => sum + rate, 0));
  $("in-flight").textContent = live.members.reduce((sum, m) => sum + m.inFlight, 0);
  const most = Math.max(1, ...rates);
  $("members").replaceChildren(...live.members.map((m, i) => row(m, rates[i], rates[i] / most)));
}

function row(member, rate, load) {
  const name = cell("th", member.id);
  name.scope = "row";
  const mark = document.createElement("i");
  mark.style.background = member.colour;
  name.prepend(mark);
  const bar = document.createElement("i");
  bar.style.width = `${load * 100}%`;
  bar.style.background = member.colour;
  const loaded = cell("td", "", "load");
  loaded.append(bar);
  const line = document.createElement("tr");
  line.dataset.replica = member.replica;
  line.append(
    name, cell("td", member.replica), cell("td", member.address),
    cell("td", member.state, `state ${member.state}`),
    cell("td", `${(member.share * 100).toFixed(2)} %`, "number"),
    cell("td", member.requests.toLocaleString("en"), "number"),
    cell("td", said(rate), "number"), loaded,
    cell("td", member.inFlight, "number"), cell("td", member.failures, "number"),
  );
  return line;
}

function cell(kind, words, style = "") {
  const made = document.createElement(kind);
  made.textContent = words;
  made.className = style;
  return made;
}

const said = (rate) => (rate >= 10 ? Math.round(rate).toLocaleString("en") : rate.toFixed(1));

async function where(event) {
  event.preventDefault();
  const key = $("key").value;
  document.body.classList.toggle("asked", key !== "");
  if (!key) return $("answer").replaceChildren();
  const found = JSON.parse(await text(`where.json?key=${encodeURIComponent(key)}`));
  const line = cell("p", `“${found.key}” is slot ${found.slot} of ${found.slots}: `);
  const names = found.replica ? [found.replica, `(member ${found.member})`] : ["nobody can serve it"];
  for (const name of names) line.append(cell("span", name), " ");
  const list = document.createElement("ol");
  for (const each of found.candidates.slice(0, 8)) {
    list.append(cell("li", `${each.id}: ${each.why}`, each.taken ? "taken" : ""));
  }
  $("answer").replaceChildren(line, list);
  mark(found.member);
}

function mark(member) {
  for (const each of document.querySelectorAll(".rm-member")) {
    each.classList.toggle("found", each.dataset.member === member);
  }
}

async function forever() {
  for (;;) {
    try {
      if (!document.hidden) await look();
      $("alarm").hidden = true;
    } catch (error) {
      $("alarm").textContent = "The balancer does not answer; what is shown is what was last known.";
      $("alarm").hidden = false;
    }
    await new Promise((resume) => setTimeout(resume, SECOND));
  }
}

$("where").addEventListener("submit", where);
forever();
