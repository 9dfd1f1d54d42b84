// A bar for each label; for hundreds of labels the highest ones, which keep their places.

import { element, percent, words } from "./dom.js";

const MOST_BARS = 14;
const BARS_OF_MANY = 10;
const CLEARLY = 1.25; // how much higher a label must score to replace another

export class Bars {
  constructor(list) {
    this.list = list;
    this.labels = [];
  }

  configure(labels, thresholds) {
    this.thresholds = thresholds;
    if (labels.join("\n") === this.labels.join("\n")) return this.setThresholds(thresholds);
    this.labels = labels;
    const count = labels.length > MOST_BARS ? BARS_OF_MANY : labels.length;
    this.shown = labels.slice(0, count).map((_, i) => i);
    this.rows = this.shown.map(() => new Bar());
    this.list.replaceChildren(...this.rows.map((row) => row.item));
    this.shown.forEach((label, place) => this.name(place, label));
  }

  setThresholds(thresholds) {
    this.thresholds = thresholds;
    this.shown?.forEach((label, place) => this.name(place, label));
  }

  name(place, label) {
    this.shown[place] = label;
    this.rows[place].name(words(this.labels[label]), this.thresholds[label]);
  }

  /** @param {Array} values  pairs of a label's index and its score; other scores are near 0 */
  update(values, on) {
    const scores = new Map(values);
    if (this.shown.length < this.labels.length) this.choose(scores, on);
    this.shown.forEach((label, place) => {
      this.rows[place].set(scores.get(label) ?? 0, on.includes(label));
    });
  }

  choose(scores, on) {
    const worth = (label) => (scores.get(label) ?? 0) + (on.includes(label) ? 1 : 0);
    const top = [...scores.keys()].sort((a, b) => worth(b) - worth(a)).slice(0, this.shown.length);
    for (const label of top) {
      if (this.shown.includes(label)) continue;
      let lowest = 0;
      this.shown.forEach((other, place) => {
        if (worth(other) < worth(this.shown[lowest])) lowest = place;
      });
      if (worth(label) > worth(this.shown[lowest]) * CLEARLY + 0.01) this.name(lowest, label);
    }
  }
}

class Bar {
  constructor() {
    this.label = element("span", { className: "label" });
    this.fill = element("i");
    this.limit = element("b", { title: "threshold" });
    this.value = element("span", { className: "value" });
    this.track = element(
      "div",
      { className: "track", role: "meter", "aria-valuemin": "0", "aria-valuemax": "1" },
      this.fill,
      this.limit,
    );
    this.badge = element("span", { className: "badge", textContent: "ON" });
    this.item = element("li", {}, this.label, this.track, this.value, this.badge);
  }

  name(text, threshold) {
    this.label.textContent = this.label.title = text;
    this.track.setAttribute("aria-label", text);
    this.limit.hidden = threshold >= 1; // 1 is never
    this.limit.style.left = `${threshold * 100}%`;
  }

  set(score, on) {
    this.fill.style.transform = `scaleX(${score})`;
    this.value.textContent = percent(score);
    this.track.setAttribute("aria-valuenow", score.toFixed(2));
    this.item.classList.toggle("on", on);
  }
}
