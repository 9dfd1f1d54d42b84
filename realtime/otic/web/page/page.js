// The page: what is shown of which stream, and how messages change it.

import { Bars } from "./bars.js";
import { Connection } from "./connection.js";
import { byId, clock, decibels, duration, element, percent, plain, position, words } from "./dom.js";
import { EventRow } from "./events.js";
import { History } from "./history.js";
import { Columns, Picture } from "./picture.js";

const MOST_ROWS = 100;
const MOST_NAMES = 3; // of what is on at once
const FLOOR_DBFS = -60;
const BAND_RANGE_DB = 60;
const AXIS_SECONDS = [5, 10, 20, 30, 60];

const streams = new Map(); // by key
let order = []; // keys, as in the latest hello
let chosen = null; // the key of the stream that is shown
let facts = null; // the latest hello
let version = null;
let shownMinute = null;
let lostAt = null; // when the connection was lost

const picture = new Picture(byId("picture"), byId("lane"));
const bars = new Bars(byId("scores"));
const history = new History(() => ({ mark: facts?.can_mark, labels: facts?.labels ?? [] }));

const connection = new Connection({ hello, update, columns, state }, () => ({
  have: Object.fromEntries([...streams].map(([key, s]) => [key, [s.columns.next, s.revision]])),
  columns: picture.width,
}));

function state(name, text) {
  byId("connection").dataset.state = name;
  byId("connection").textContent = text;
  document.body.classList.toggle("stale", name !== "live");
  if (name === "live") lostAt = null;
  else if (facts && lostAt === null) {
    lostAt = clock(new Date());
    byId("health").dataset.level = "warning";
    byId("reason").textContent = `no connection to otic since ${lostAt}: the page shows what it had then`;
  }
}

function hello(message) {
  if (version !== null && version !== message.otic) location.reload(); // another version of otic has another page
  version = message.otic;
  facts = message;
  byId("sensor").textContent = plain(message.sensor);
  document.title = `${plain(message.sensor)} · otic`;
  const source = streams.get(chosen)?.source;
  order = message.streams.map((stream) => stream.key);
  for (const key of [...streams.keys()]) if (!order.includes(key)) streams.delete(key);
  for (const each of message.streams) {
    if (!streams.has(each.key)) {
      streams.set(each.key, { ...each, columns: new Columns(each.n_mels), events: new Map(), revision: 0 });
    }
  }
  history.setSources([...new Set(message.streams.map((stream) => stream.source))]);
  // The same source as before, even if its stream has restarted.
  const same = order.find((key) => streams.get(key).source === source);
  choose(same ?? order[0] ?? null);
}

function choose(key) {
  chosen = key;
  const tabs = order.map((each) => {
    const tab = element("button", { role: "tab", textContent: streams.get(each).source, "aria-selected": String(each === key) });
    tab.onclick = () => choose(each);
    tab.dataset.key = each;
    return tab;
  });
  byId("sources").replaceChildren(...tabs);
  byId("sources").hidden = tabs.length < 2;
  bars.configure(facts.labels, facts.thresholds);
  const stream = streams.get(key);
  if (!stream) return;
  const palette = Uint8Array.from(facts.palette.match(/../g), (pair) => parseInt(pair, 16));
  picture.show(stream.columns, stream.column_seconds, palette, facts.top_db);
  showTicks();
  byId("events").replaceChildren();
  stream.rows = new Map();
  showEvents(stream, [...stream.events.values()]);
  showNow(stream);
  showScores(stream);
}

function update(message) {
  if (message.thresholds) bars.setThresholds((facts.thresholds = message.thresholds));
  for (const [key, part] of Object.entries(message.streams ?? {})) {
    const stream = streams.get(key);
    if (!stream) continue;
    Object.assign(stream, { now: part.now ?? stream.now, scores: part.scores ?? stream.scores, minute: part.minute ?? stream.minute });
    stream.revision = part.revision ?? stream.revision;
    for (const event of part.events ?? []) stream.events.set(event.number, event);
    trim(stream.events);
    if (key === chosen) {
      if (part.now) showNow(stream);
      if (part.scores) showScores(stream);
      if (part.events) showEvents(stream, part.events);
    } else if (part.now) {
      const tab = byId("sources").querySelector(`[data-key="${key}"]`);
      if (tab) tab.dataset.level = part.now.health[0];
    }
  }
}

function columns(index, first, nMels, levels) {
  const stream = streams.get(order[index]);
  if (!stream) return;
  stream.columns.add(first, levels);
  if (stream.key === chosen) requestAnimationFrame(draw);
}

function draw() {
  const stream = streams.get(chosen);
  if (!stream) return;
  picture.draw();
  picture.drawLane([...stream.events.values()]);
}

function trim(events) {
  for (const number of events.keys()) {
    if (events.size <= 2 * MOST_ROWS) break;
    events.delete(number);
  }
}

function showNow(stream) {
  const now = stream.now;
  if (!now) return;
  const [level, reason] = now.ended ? ["ok", "the stream has ended"] : now.health;
  byId("health").dataset.level = level;
  byId("reason").textContent = plain(reason);
  const tab = byId("sources").querySelector(`[data-key="${stream.key}"]`);
  if (tab) tab.dataset.level = level;
  const lost = byId("lost");
  lost.hidden = now.lost === 0 || reason.includes("lost"); // shown once, but always shown
  const lostText = `${now.lost.toLocaleString()} samples lost: ${duration(now.lost_seconds)} of ${duration(now.seconds)}`;
  if (lost.textContent !== lostText) lost.textContent = lostText;

  const share = (dbfs) => Math.max(0, Math.min(1, 1 - dbfs / FLOOR_DBFS));
  const meter = byId("level");
  meter.firstElementChild.style.transform = `scaleX(${share(now.level)})`;
  meter.lastElementChild.style.left = `${share(now.peak) * 100}%`;
  meter.classList.toggle("clipped", now.clipped);
  meter.setAttribute("aria-valuenow", Math.max(FLOOR_DBFS, now.level).toFixed(0));
  byId("level-text").textContent = `${decibels(now.level)} dB, peak ${decibels(now.peak)}`;
  showMinute(stream);
  showFacts(stream, now);
}

function showMinute(stream) {
  const minute = stream.minute;
  byId("minute").hidden = !minute;
  if (!minute || minute === shownMinute) return;
  shownMinute = minute;
  const unit = minute.calibrated ? "dB" : "dBFS";
  const levels = Object.entries({ LAeq: minute.laeq, L10: minute.l10, L50: minute.l50, L90: minute.l90, peak: minute.peak });
  const text = levels.map(([name, db]) => `${name} ${decibels(db)}`).join(", ");
  byId("minute-text").textContent = `${text} ${unit}${minute.calibrated ? "" : " (uncalibrated)"}`;
  const bands = Object.entries(minute.bands).sort(([a], [b]) => a - b); // JSON's order puts whole numbers first
  const highest = Math.max(...bands.map(([, db]) => db));
  byId("bands").replaceChildren(
    ...bands.map(([hz, db]) => {
      const name = `${hz >= 1000 ? `${hz / 1000} k` : `${hz} `}Hz: ${decibels(db)} ${unit}`;
      const bar = element("li", { title: name }, element("i"));
      bar.setAttribute("aria-label", name);
      bar.firstElementChild.style.height = `${100 * Math.max(0.02, 1 - (highest - db) / BAND_RANGE_DB)}%`;
      return bar;
    }),
  );
}

function showFacts(stream, now) {
  const known = {
    Source: stream.source,
    Model: facts.model,
    Audio: duration(now.seconds),
    Lost: now.lost ? `${now.lost.toLocaleString()} samples` : "nothing",
    ...(now.skipped_seconds ? { Paused: duration(now.skipped_seconds) } : {}),
    Speed: now.speed ? `${now.speed.toFixed(0)} × real time` : "–",
    Inference: `${now.inference_ms.toFixed(2)} ms`,
    Buffer: `${percent(now.queue)} full`,
    otic: facts.otic,
  };
  const texts = Object.entries(known).flat().join("\n");
  if (stream.facts === texts && byId("facts").childElementCount) return;
  stream.facts = texts;
  byId("facts").replaceChildren(
    ...Object.entries(known).flatMap(([name, value]) => [
      element("dt", { textContent: name }),
      element("dd", { textContent: value }),
    ]),
  );
}

function showScores(stream) {
  const scores = stream.scores;
  bars.update(scores?.values ?? [], scores?.on ?? []);
  const values = new Map(scores?.values);
  const loudest = [...(scores?.on ?? [])].sort((a, b) => (values.get(b) ?? 0) - (values.get(a) ?? 0));
  const on = loudest.slice(0, MOST_NAMES).map((label) => words(facts.labels[label]));
  if (loudest.length > MOST_NAMES) on.push(`${loudest.length - MOST_NAMES} more`);
  const warming = `listening: the first scores take ${facts.window_seconds.toFixed(1)} s`;
  const text = scores ? on.join(", ") || "no known sound" : warming;
  const hearing = byId("hearing");
  hearing.classList.toggle("on", on.length > 0);
  hearing.classList.toggle("long", text.length > 24);
  if (hearing.textContent !== text) hearing.textContent = text;
}

function showEvents(stream, events) {
  const list = byId("events");
  const can = { mark: facts.can_mark, labels: facts.labels };
  for (const event of events) {
    let row = stream.rows.get(event.number);
    if (!row) {
      row = new EventRow({ stream: stream.key, number: event.number }, can);
      stream.rows.set(event.number, row);
      const newer = [...list.children].find((item) => Number(item.dataset.number) < event.number);
      row.item.dataset.number = event.number;
      list.insertBefore(row.item, newer ?? null);
    }
    const gap = event.label === "";
    const ended = event.offset !== null;
    const how = gap ? duration(event.lost_seconds) : ended ? duration(event.offset - event.onset) : "now";
    const time = event.at ? clock(event.at) : position(event.onset);
    const sound = facts.has_clips && ended && !gap && `clip?stream=${stream.key}&number=${event.number}`;
    row.update(event, time, how, sound);
  }
  while (list.childElementCount > MOST_ROWS) {
    stream.rows.delete(Number(list.lastElementChild.dataset.number));
    list.lastElementChild.remove();
  }
  byId("no-events").hidden = list.childElementCount > 0;
}

function showTicks() {
  const ticks = facts.ticks.map(([text, place]) => {
    const tick = element("span", { textContent: text });
    tick.style.bottom = `${place * 100}%`;
    return tick;
  });
  byId("ticks").replaceChildren(...ticks);
  const step = AXIS_SECONDS.find((each) => picture.seconds / each <= 6) ?? 120;
  const marks = [];
  for (let seconds = 0; seconds < picture.seconds * 0.95; seconds += step) {
    const mark = element("span", { textContent: seconds ? `−${seconds} s` : "now" });
    mark.style.right = `${(100 * seconds) / picture.seconds}%`;
    marks.push(mark);
  }
  byId("axis").replaceChildren(...marks);
}

function view(name) {
  for (const each of ["live", "history"]) {
    byId(each).hidden = each !== name;
    byId(`${each}-tab`).setAttribute("aria-selected", String(each === name));
  }
  if (name === "history") history.load();
  else draw();
}

for (const name of ["live", "history"]) {
  byId(`${name}-tab`).onclick = () => (location.hash = name === "live" ? "" : name);
}
addEventListener("hashchange", () => view(location.hash === "#history" ? "history" : "live"));
addEventListener("resize", () => facts && chosen && showTicks());
document.addEventListener("visibilitychange", () => document.hidden || (facts && picture.resize()));
if (location.hash === "#history") view("history");
