// The WebSocket: it is opened again and again, and says what the page knows already.

const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 8000;
const SILENCE_MS = 4000; // a server tells something eight times a second
const HEADER_BYTES = 8; // see realtime/otic/web/feed.py

export class Connection {
  /**
   * @param {object} on  hello(message), update(message), columns(index, first, nMels, levels),
   *                     state(name, words)
   * @param {function} known  what the page has, to be told only what is new
   */
  constructor(on, known) {
    this.on = on;
    this.known = known;
    this.wait = FIRST_WAIT_MS;
    this.open();
    // Back from sleep, or in the network again: don't wait for the next turn.
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
    this.heardAt = performance.now();
    socket.onopen = () => socket.send(JSON.stringify(this.known()));
    socket.onmessage = (event) => {
      if (socket === this.socket) this.take(event.data);
    };
    socket.onclose = () => {
      if (socket === this.socket) this.lost();
    };
  }

  take(data) {
    this.heardAt = performance.now();
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
      if (answer.status === 401) this.on.state("refused", "the token has changed: load the page anew");
    } catch {
      // nobody is there: the next attempt is on its way
    }
  }

  hurry() {
    if (this.timer !== null) this.open();
  }

  /** A network that went away says nothing: silence does. */
  look() {
    if (this.timer === null && performance.now() - this.heardAt > SILENCE_MS) {
      const socket = this.socket;
      this.socket = null;
      socket.close();
      this.lost();
    }
  }
}
