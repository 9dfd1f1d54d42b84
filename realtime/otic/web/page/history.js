// Events from the database, a page at a time, newest first.

import { byId, clock, day, duration, element, plain, position, words } from "./dom.js";
import { EventRow } from "./events.js";

export class History {
  constructor(can) {
    this.can = can;
    this.form = byId("filter");
    this.list = byId("past");
    this.older = byId("older");
    this.note = byId("no-past");
    this.form.oninput = () => this.load();
    this.form.onsubmit = (event) => event.preventDefault();
    this.form.onreset = () => setTimeout(() => this.load());
    this.older.onclick = () => this.load(this.last);
    this.turn = 0;
  }

  setSources(sources) {
    this.fill("source", sources);
    byId("source-filter").hidden = sources.length < 2;
  }

  fill(name, values) {
    const select = this.form.elements[name];
    const chosen = select.value;
    const known = new Set([...values, ...(chosen ? [chosen] : [])]);
    const options = [...known].map((value) => new Option(words(value), value));
    select.replaceChildren(new Option("all", ""), ...options);
    select.value = chosen;
  }

  /** Load the first page, or the one after `last`. */
  async load(last = null) {
    const turn = ++this.turn; // a late answer is not shown
    const asked = new URLSearchParams();
    const { label, source, day: date } = this.form.elements;
    if (label.value) asked.set("label", label.value);
    if (source.value) asked.set("source", source.value);
    if (date.value) {
      const [year, month, dayOfMonth] = date.value.split("-").map(Number);
      asked.set("since", new Date(year, month - 1, dayOfMonth).toISOString()); // the viewer's day
      asked.set("until", new Date(year, month - 1, dayOfMonth + 1).toISOString());
    }
    if (last) {
      asked.set("before_at", last.onset_at);
      asked.set("before", last.event);
    }
    try {
      const answer = await fetch(`history?${asked}`);
      const found = await answer.json();
      if (turn !== this.turn) return;
      if (!answer.ok) throw new Error(found.error);
      this.show(found, last);
    } catch (error) {
      if (turn === this.turn) this.say(error.message, last);
    }
  }

  say(text, last) {
    if (!last) this.list.replaceChildren();
    this.older.hidden = true;
    this.note.textContent = plain(text);
  }

  show({ events, labels, more }, last) {
    if (!last) {
      this.list.replaceChildren();
      this.day = null;
    }
    if (labels) this.fill("label", labels);
    for (const event of events) {
      const date = event.onset_at ? day(event.onset_at) : "Replayed";
      if (date !== this.day) {
        this.day = date;
        this.rows = element("ol");
        this.list.append(element("h3", { textContent: date }), this.rows);
      }
      const row = new EventRow({ event: event.event }, this.can());
      const how = event.reason ?? (event.seconds == null ? "on" : duration(event.seconds));
      const at = event.onset_at ? clock(event.onset_at) : position(event.onset);
      row.update(event, at, this.form.elements.source.length > 2 ? `${how} · ${event.source}` : how, event.clip);
      this.rows.append(row.item);
    }
    this.last = events.at(-1) ?? last;
    this.older.hidden = !more;
    this.note.textContent = this.list.childElementCount ? "" : "No such events.";
  }
}
