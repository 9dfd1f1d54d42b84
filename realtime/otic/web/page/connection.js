// The WebSocket: it reconnects, and says what the page already has.

const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 8000;
const SILENCE_MS = 4000; // a server sends eight messages a second
const HEADER_BYTES = 8; // see realtime/otic/web/feed.py

export class Connection {
  /**
   * @param {object} on  hello(message), update(message), columns(index, first, nMels, levels),
   *                     state(name, words)
   * @param {function} known  what the page has, so that only news is sent
   */
  constructor(on, known) {
    this.on = on;
    this.known = known;
    this.wait = FIRST_WAIT_MS;
    this.open();
    // Awake or online again: don't wait for the next attempt.
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.hurry());
    setInterval(() => this.look(), 1000);
  }

  open() {
    clearTimeout(this.timer);
    this.timer = null;
    const url = new URL("live", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    url.search = url.hash = "";
    const socket = (this.socket = new WebSocket(url));
    socket.binaryType = "arraybuffer";
    this.receivedAt = performance.now();
    socket.onopen = () => socket.send(JSON.stringify(this.known()));
    socket.onmessage = (event) => {
      if (socket === this.socket) this.take(event.data);
    };
    socket.onclose = () => {
      if (socket === this.socket) this.lost();
    };
  }

  take(data) {
    this.receivedAt = performance.now();
    if (typeof data !== "string") {
      const view = new DataView(data);
      const levels = new Uint8Array(data, HEADER_BYTES);
      this.on.columns(view.getUint8(1), view.getUint32(4, true), view.getUint16(2, true), levels);
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "hello") {
      this.wait = FIRST_WAIT_MS;
      this.on.state("live", "live");
    }
    this.on[message.type]?.(message);
  }

  lost() {
    this.on.state("lost", "reconnecting…");
    this.timer = setTimeout(() => this.open(), this.wait * (0.75 + Math.random() / 2));
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT_MS);
    this.ask();
  }

  /** A WebSocket does not say why it was refused; an ordinary request does. */
  async ask() {
    try {
      const answer = await fetch("page.js", { cache: "no-store" });
      if (answer.status === 401) this.on.state("refused", "the token has changed: reload the page");
    } catch {
      // no answer: the next attempt is on its way
    }
  }

  hurry() {
    if (this.timer !== null) this.open();
  }

  /** Notice a lost network by its silence: nothing else reports it. */
  look() {
    if (this.timer === null && performance.now() - this.receivedAt > SILENCE_MS) {
      const socket = this.socket;
      this.socket = null;
      socket.close();
      this.lost();
    }
  }
}
