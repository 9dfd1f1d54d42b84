// The scrolling spectrogram, and below it the events.

import { words } from "./dom.js";

const KEPT = 2400; // columns of each stream
const DARKEST = 41; // level 41 is -60 dB: silence stays dark
const HYSTERESIS = 6; // dB by which sound must get quieter before colours change
const GAP = [0xff3344dd, 0xff221166]; // lost audio: two reds, ABGR
const LANE_ROWS = 2;
const LEAST_TEXT = 28; // pixels

/** The latest columns of one stream, by number. */
export class Columns {
  constructor(nMels) {
    this.nMels = nMels;
    this.levels = new Uint8Array(KEPT * nMels);
    this.loudest = new Uint8Array(KEPT);
    this.numbers = new Int32Array(KEPT).fill(-1);
    this.next = 0; // one past the latest
  }

  add(first, levels) {
    const count = levels.length / this.nMels;
    for (let i = 0; i < count; i++) {
      const row = (first + i) % KEPT;
      const column = levels.subarray(i * this.nMels, (i + 1) * this.nMels);
      this.levels.set(column, row * this.nMels);
      this.loudest[row] = column.reduce((a, b) => Math.max(a, b), 0);
      this.numbers[row] = first + i;
    }
    this.next = Math.max(this.next, first + count);
  }

  row(number) {
    const row = number % KEPT;
    return number >= 0 && this.numbers[row] === number ? row : -1;
  }
}

export class Picture {
  constructor(canvas, lane) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: true });
    this.lane = lane;
    this.columns = null;
    this.drawn = 0; // one past the last column on the canvas
    this.high = 0;
    this.events = [];
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
  }

  /** Seconds from the left edge to the right one. */
  get seconds() {
    return this.width * this.columnSeconds;
  }

  /** How many columns fit. */
  get width() {
    return Math.max(1, Math.min(KEPT, Math.round(this.canvas.parentElement.clientWidth)));
  }

  show(columns, columnSeconds, palette, topDb) {
    Object.assign(this, { columns, columnSeconds, palette, topDb });
    this.high = 0;
    this.resize();
  }

  resize() {
    if (!this.columns) return;
    this.canvas.width = this.width;
    this.canvas.height = this.columns.nMels;
    this.drawn = 0;
    this.draw();
    this.drawLane(this.events);
  }

  /** Draw what is new; everything if the colours change. */
  draw() {
    if (!this.columns || document.hidden) return;
    const { width } = this.canvas;
    const next = this.columns.next;
    const step = this.calm.matches ? Math.round(1 / this.columnSeconds) : 1;
    const fresh = next - this.drawn;
    if (fresh < step && this.drawn) return;
    const changed = this.adapt(next - width, next);
    if (changed || fresh >= width || !this.drawn) {
      this.paint(next - width, next, 0);
    } else {
      this.context.globalCompositeOperation = "copy";
      this.context.drawImage(this.canvas, -fresh, 0);
      this.context.globalCompositeOperation = "source-over";
      this.paint(next - fresh, next, width - fresh);
    }
    this.drawn = next;
  }

  /** Follow the loudness; return whether the colours changed. */
  adapt(first, stop) {
    let high = DARKEST;
    for (let number = first; number < stop; number++) {
      const row = this.columns.row(number);
      if (row >= 0) high = Math.max(high, this.columns.loudest[row]);
    }
    if (high <= this.high && high > this.high - HYSTERESIS) return false;
    this.high = high;
    const low = high - Math.max(1, Math.round(this.topDb));
    this.colours = new Uint32Array(256);
    for (let level = 0; level < 256; level++) {
      const place = Math.round((255 * (level - low)) / (high - low));
      const at = 3 * Math.max(0, Math.min(255, place));
      const [red, green, blue] = this.palette.subarray(at, at + 3);
      this.colours[level] = (255 << 24) | (blue << 16) | (green << 8) | red;
    }
    return true;
  }

  paint(first, stop, x) {
    const { nMels, levels, loudest } = this.columns;
    const image = this.context.createImageData(stop - first, nMels);
    const pixels = new Uint32Array(image.data.buffer);
    for (let number = first; number < stop; number++) {
      const row = this.columns.row(number);
      if (row < 0) continue; // before the beginning, or no longer in memory: transparent
      const lost = loudest[row] === 0 && number > 2;
      for (let band = 0; band < nMels; band++) {
        const at = (nMels - 1 - band) * (stop - first) + (number - first);
        const level = levels[row * nMels + band];
        pixels[at] = lost ? GAP[(number + band) % 6 < 3 ? 0 : 1] : this.colours[level];
      }
    }
    this.context.putImageData(image, x, 0);
  }

  /** Draw the visible events below their place in the spectrogram. */
  drawLane(events) {
    this.events = events;
    if (!this.columns || document.hidden) return;
    const scale = devicePixelRatio || 1;
    const [width, height] = [this.lane.clientWidth, this.lane.clientHeight];
    if (this.lane.width !== Math.round(width * scale)) this.lane.width = Math.round(width * scale);
    if (this.lane.height !== Math.round(height * scale)) this.lane.height = Math.round(height * scale);
    const context = this.lane.getContext("2d");
    const style = getComputedStyle(this.lane);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = style.font;
    context.textBaseline = "middle";
    const end = this.drawn * this.columnSeconds;
    const toX = (seconds) => width + ((seconds - end) / this.seconds) * width;
    const room = new Array(LANE_ROWS).fill(-Infinity); // where each row's free part begins
    const rowHeight = height / LANE_ROWS;
    for (const event of events) {
      const [left, right] = [toX(event.onset), toX(event.offset ?? end)];
      if (right < 0 || left > width) continue;
      const gap = event.label === "";
      const row = gap ? 0 : room.findIndex((free) => free <= left);
      if (row < 0) continue; // too many at once: they are in the list
      room[row] = right + 2;
      context.fillStyle = style.getPropertyValue(gap ? "--red" : "--accent");
      context.beginPath();
      const box = [left, row * rowHeight + 1, Math.max(2, right - left), rowHeight - 2];
      if (context.roundRect) context.roundRect(...box, 3);
      else context.rect(...box); // older phones
      context.fill();
      context.save();
      context.clip();
      context.fillStyle = style.getPropertyValue("--on-accent");
      const text = gap ? "lost" : words(event.label);
      if (right - Math.max(left, 0) >= LEAST_TEXT) {
        context.fillText(text, Math.max(left, 0) + 4, (row + 0.5) * rowHeight);
      }
      context.restore();
    }
  }
}
