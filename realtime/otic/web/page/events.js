// Rows of events, live and from the history, with their buttons.

import { element, percent, plain, words } from "./dom.js";

/** A row that can be updated; `place` holds the server's identifier of the event. */
export class EventRow {
  /**
   * @param {object} place  {stream, number} of a live event, {event} of one in the history
   * @param {object} can  mark: bool, labels: list of the model's
   */
  constructor(place, can) {
    this.place = place;
    this.can = can;
    this.time = element("time");
    this.label = element("span", { className: "label" });
    this.detail = element("span", { className: "detail" });
    this.buttons = element("span", { className: "buttons" });
    this.more = element("div", { className: "more" });
    this.item = element("li", { className: "event" }, this.time, this.label, this.detail, this.buttons, this.more);
    this.play = element("button", { className: "play", textContent: "▶", "aria-label": "play", hidden: true });
    this.right = element("button", { textContent: "✓", title: "right", "aria-label": "right" });
    this.wrong = element("button", { textContent: "✗", title: "wrong", "aria-label": "wrong" });
    this.right.onclick = () => this.mark("right", null);
    this.wrong.onclick = () => this.mark("wrong", null);
    this.play.onclick = () => this.hear();
    this.buttons.append(this.play);
  }

  /** @param {object} event  label, peak, verdict, true_label, lost_seconds */
  update(event, time, detail, sound) {
    this.event = event;
    const gap = event.label === "";
    this.item.classList.toggle("gap", gap);
    this.item.classList.toggle("on", !gap && event.offset == null && !event.reason);
    this.item.dataset.label = event.label;
    this.time.textContent = time;
    this.label.textContent = gap ? "audio lost" : words(event.label);
    const peak = gap || event.peak == null ? "" : ` · ${percent(event.peak)}`;
    this.detail.textContent = plain(detail + peak);
    this.sound = sound;
    this.play.hidden = !sound;
    if (this.can.mark && !gap && !this.right.parentElement) this.buttons.append(this.right, this.wrong);
    this.showVerdict();
  }

  showVerdict() {
    const { verdict, true_label: trueLabel } = this.event;
    this.right.setAttribute("aria-pressed", String(verdict === "right"));
    this.wrong.setAttribute("aria-pressed", String(verdict === "wrong"));
    this.item.dataset.verdict = verdict ?? "";
    if (verdict !== "wrong") {
      this.select?.parentElement.remove();
      this.select = null;
    } else if (!this.select) {
      this.select = this.truth();
      this.more.append(element("label", {}, "It was ", this.select));
    }
    if (this.select && document.activeElement !== this.select) this.select.value = trueLabel ?? "";
  }

  /** Ask for the true label; built on demand, since models may have hundreds of labels. */
  truth() {
    const others = this.can.labels.filter((label) => label !== this.event.label);
    const options = others.map((label) => new Option(words(label), label));
    const select = element("select", {}, new Option("something else", ""), ...options);
    select.onchange = () => this.mark("wrong", select.value || null);
    return select;
  }

  async mark(verdict, trueLabel) {
    this.say("");
    try {
      const answer = await fetch("mark", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ ...this.place, verdict, true_label: trueLabel }),
      });
      const said = await answer.json();
      if (!answer.ok) throw new Error(said.error);
      Object.assign(this.event, said);
      this.showVerdict();
    } catch (error) {
      this.say(`not marked: ${error.message}`);
    }
  }

  hear() {
    this.say("");
    this.audio?.remove();
    this.audio = element("audio", { controls: true, src: this.sound });
    this.audio.onerror = () => {
      this.audio?.remove();
      this.say("this event has no recording, or not yet");
    };
    this.more.prepend(this.audio);
    this.audio.play().catch(() => {}); // an error has its own event
  }

  say(text) {
    this.note?.remove();
    if (!text) return;
    this.note = element("p", { className: "note", role: "alert", textContent: text });
    this.more.append(this.note);
  }
}
